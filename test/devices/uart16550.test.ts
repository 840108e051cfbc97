/** The 16550A by its data sheet (National PC16550D, section numbers below) and by the order in which Linux's 8250 driver
 * probes it (drivers/tty/serial/8250/8250_port.c: autoconfig, autoconfig_16550a, size_fifo, serial8250_do_startup). */
import { beforeEach, describe, expect, it } from 'vitest';
import { Uart16550 } from '../../src/devices/uart16550.ts';
import { inb, outb, RecordedLine } from './machine-clock.ts';

const [DATA, IER, IIR, FCR, LCR, MCR, LSR, MSR, SCR] = [0, 1, 2, 2, 3, 4, 5, 6, 7];

let sent: number[];
let line: RecordedLine;
let roomCalls: number;
let uart: Uart16550;
beforeEach(() => {
  sent = [];
  line = new RecordedLine();
  roomCalls = 0;
  uart = new Uart16550({
    name: 'uart16550',
    transmit: (byte) => sent.push(byte),
    irq: line.pull,
    onRoom: () => roomCalls++,
  });
});

const receive = (...bytes: number[]) => {
  for (const byte of bytes) uart.receive(byte);
};

describe('registers', () => {
  const afterReset = [
    // register, value, source
    [IER, 0x00, '8.0 table II'],
    [IIR, 0x01, '8.0 table II: no interrupt pending'],
    [LCR, 0x00, '8.0 table II'],
    [MCR, 0x00, '8.0 table II'],
    [LSR, 0x60, '8.0 table II: THRE and TEMT'],
    [MSR, 0xb0, 'modem lines: DCD, DSR, CTS of a terminal that is there'],
  ] as const;
  it.each(afterReset)('register %i reads %i after reset (%s)', (register, value) => {
    expect(inb(uart, register)).toBe(value);
  });

  const stored = [
    // register, written, read back, why
    [IER, 0xff, 0x0f, 'bits 4-7 are always 0 (8.5); XScale test of Linux looks at bit 6'],
    [LCR, 0x7f, 0x7f, 'all bits of LCR are stored (8.1)'],
    [MCR, 0xff, 0x1f, 'bits 5-7 are always 0 (8.7); no AFE as on a 16750'],
    [SCR, 0xa5, 0xa5, 'scratch (8.9)'],
    [LSR, 0x00, 0x60, 'read-only in practice (8.3)'],
    [MSR, 0x00, 0xb0, 'read-only in practice (8.8)'],
  ] as const;
  it.each(stored)('register %i written %i reads %i: %s', (register, written, value) => {
    outb(uart, register, written);
    expect(inb(uart, register)).toBe(value);
  });

  it('shows the divisor latch in place of data and IER while DLAB is set (8.2)', () => {
    outb(uart, IER, 0x05);
    outb(uart, LCR, 0x83);
    outb(uart, DATA, 0x34);
    outb(uart, IER, 0x12);
    expect([inb(uart, 0), inb(uart, 1)]).toEqual([0x34, 0x12]);
    outb(uart, LCR, 0x03);
    expect(inb(uart, IER)).toBe(0x05);
    expect(sent).toEqual([]);
  });

  it('sends each byte at once and stays ready for the next', () => {
    for (const byte of [0x48, 0x69, 0x0a]) {
      expect(inb(uart, LSR) & 0x60).toBe(0x60);
      outb(uart, DATA, byte);
    }
    expect(sent).toEqual([0x48, 0x69, 0x0a]);
  });
});

describe('receiver', () => {
  it('without FIFOs holds one byte; the next replaces it and sets OE, which a read of LSR clears (8.3)', () => {
    receive(0x41);
    expect(inb(uart, LSR)).toBe(0x61);
    receive(0x42);
    expect(inb(uart, LSR)).toBe(0x63);
    expect(inb(uart, LSR)).toBe(0x61);
    expect(inb(uart, DATA)).toBe(0x42);
    expect(inb(uart, LSR)).toBe(0x60);
  });

  it('with FIFOs holds sixteen bytes in order; the seventeenth is lost and sets OE (8.4)', () => {
    outb(uart, FCR, 0x01);
    expect(uart.room).toBe(16);
    receive(...Array.from({ length: 17 }, (_, i) => i + 1));
    expect(uart.room).toBe(0);
    expect(inb(uart, LSR)).toBe(0x63);
    expect(Array.from({ length: 16 }, () => inb(uart, DATA))).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
    expect(inb(uart, LSR)).toBe(0x60);
    expect(inb(uart, DATA)).toBe(0);
  });

  it('keeps its order when the FIFO wraps', () => {
    outb(uart, FCR, 0x01);
    const got: number[] = [];
    for (let i = 0; i < 40; i += 5) {
      receive(i, i + 1, i + 2, i + 3, i + 4);
      while (inb(uart, LSR) & 1) got.push(inb(uart, DATA));
    }
    expect(got).toEqual(Array.from({ length: 40 }, (_, i) => i));
  });

  it.each([
    [0x03, 'bit 1 clears the receive FIFO'],
    [0x00, 'switching the FIFOs off clears them'],
  ])('FCR %i drops what was received: %s', (fcr) => {
    outb(uart, FCR, 0x01);
    receive(1, 2, 3);
    outb(uart, FCR, fcr);
    expect(inb(uart, LSR)).toBe(0x60);
  });

  it('tells its owner when a read made room', () => {
    receive(1);
    expect(uart.room).toBe(0);
    inb(uart, DATA);
    expect(roomCalls).toBe(1);
    expect(uart.room).toBe(1);
  });
});

describe('interrupts', () => {
  beforeEach(() => outb(uart, MCR, 0x0b));

  it('reach the wire only while OUT2 is set, as the PC wires it', () => {
    outb(uart, MCR, 0x03);
    outb(uart, IER, 0x02);
    expect(line.level).toBe(false);
    outb(uart, MCR, 0x0b);
    expect(line.level).toBe(true);
    outb(uart, MCR, 0x03);
    expect(line.level).toBe(false);
  });

  it('come in the order of the data sheet: line status, data, transmitter, modem (8.6, table IV)', () => {
    outb(uart, IER, 0x0f);
    receive(1, 2); // overrun and data; the transmitter is empty since IER was set
    outb(uart, MCR, 0x10); // loopback with all outputs off drops DSR, CTS, DCD ...
    outb(uart, MCR, 0x0b); // ... and back: deltas
    expect(inb(uart, IIR)).toBe(0x06);
    inb(uart, LSR);
    expect(inb(uart, IIR)).toBe(0x04);
    inb(uart, DATA);
    expect(inb(uart, IIR)).toBe(0x02);
    expect(inb(uart, IIR)).toBe(0x00);
    inb(uart, MSR);
    expect(inb(uart, IIR)).toBe(0x01);
    expect(line.level).toBe(false);
  });

  it.each([
    [0x01, 1],
    [0x41, 4],
    [0x81, 8],
    [0xc1, 14],
  ])(
    'FCR %i: data below the trigger is a character timeout, at it is data ready (8.4.1), trigger %i',
    (fcr, trigger) => {
      outb(uart, FCR, fcr);
      outb(uart, IER, 0x01);
      for (let i = 1; i <= trigger; i++) {
        receive(i);
        expect(inb(uart, IIR)).toBe(i < trigger ? 0xcc : 0xc4);
      }
      for (let i = 1; i <= trigger; i++) inb(uart, DATA);
      expect(inb(uart, IIR)).toBe(0xc1);
    },
  );

  it('a written byte ends the THRE interrupt and starts a new one, with an edge on the wire', () => {
    outb(uart, IER, 0x02);
    expect([line.level, line.rises]).toEqual([true, 1]);
    outb(uart, DATA, 0x41);
    expect([line.level, line.rises, line.falls]).toEqual([true, 2, 1]);
    expect(inb(uart, IIR)).toBe(0x02);
    expect(line.level).toBe(false);
    expect(inb(uart, IIR)).toBe(0x01);
    outb(uart, DATA, 0x42);
    expect(line.level).toBe(true);
  });

  it('reading IIR does not reset a THRE interrupt that it did not show', () => {
    outb(uart, IER, 0x03);
    receive(1);
    expect(inb(uart, IIR)).toBe(0x04);
    inb(uart, DATA);
    expect(inb(uart, IIR)).toBe(0x02);
  });
});

describe('loopback (8.7)', () => {
  it('leads transmitted bytes to the receiver and nothing to the outside', () => {
    outb(uart, FCR, 0x01);
    outb(uart, MCR, 0x10);
    outb(uart, DATA, 0x5a);
    uart.receive(0x77);
    expect(inb(uart, DATA)).toBe(0x5a);
    expect(inb(uart, LSR)).toBe(0x60);
    expect(sent).toEqual([]);
    expect(uart.room).toBe(0);
  });

  it.each([
    [0x11, 0x20, 'DTR → DSR'],
    [0x12, 0x10, 'RTS → CTS'],
    [0x14, 0x40, 'OUT1 → RI'],
    [0x18, 0x80, 'OUT2 → DCD'],
    [0x1f, 0xf0, 'all'],
  ])('MCR %i shows as MSR %i: %s', (mcr, msr) => {
    outb(uart, MCR, mcr);
    expect(inb(uart, MSR) & 0xf0).toBe(msr);
  });

  it('records changes in the delta bits until MSR is read, RI only when it ends', () => {
    outb(uart, MCR, 0x10);
    inb(uart, MSR);
    outb(uart, MCR, 0x16); // RTS, OUT1
    expect(inb(uart, MSR)).toBe(0x51);
    outb(uart, MCR, 0x10);
    expect(inb(uart, MSR)).toBe(0x05); // CTS changed, RI ended
    expect(inb(uart, MSR)).toBe(0x00);
  });
});

describe("Linux's probe", () => {
  it('autoconfig finds a 16550A with FIFOs and none of its relatives', () => {
    outb(uart, IER, 0);
    expect(inb(uart, IER) & 0x0f).toBe(0);
    outb(uart, IER, 0x0f);
    expect(inb(uart, IER) & 0x0f).toBe(0x0f);
    outb(uart, IER, 0);
    outb(uart, LCR, 0xbf); // EFR of 16650 and later lives at 2 now
    outb(uart, 2, 0);
    outb(uart, LCR, 0);
    outb(uart, FCR, 0x01);
    expect(inb(uart, IIR) >> 6).toBe(3);
    // autoconfig_16550a: an EFR would read 0
    outb(uart, LCR, 0x80);
    expect(inb(uart, 2)).not.toBe(0);
    outb(uart, LCR, 0xbf);
    expect(inb(uart, 2)).not.toBe(0);
    // National's EXCR1 behind LCR 0xe0 would follow MCR's loop bit
    outb(uart, LCR, 0);
    const mcr = inb(uart, MCR);
    outb(uart, MCR, mcr ^ 0x10);
    outb(uart, LCR, 0xe0);
    const excr1 = inb(uart, 2);
    outb(uart, LCR, 0);
    outb(uart, MCR, mcr);
    expect((excr1 ^ mcr) & 0x10).toBe(0);
    // TI16750: 64-byte FIFO bit only behind DLAB
    outb(uart, FCR, 0x21);
    const plain = inb(uart, IIR) >> 5;
    outb(uart, FCR, 0x01);
    outb(uart, LCR, 0x80);
    outb(uart, FCR, 0x21);
    const behindDlab = inb(uart, IIR) >> 5;
    outb(uart, LCR, 0);
    expect([plain, behindDlab]).toEqual([6, 6]);
  });

  it('size_fifo counts sixteen bytes through the loopback', () => {
    outb(uart, FCR, 0x07);
    outb(uart, MCR, 0x10);
    for (let i = 0; i < 256; i++) outb(uart, DATA, i);
    let count = 0;
    while (inb(uart, LSR) & 1 && count < 256) {
      inb(uart, DATA);
      count++;
    }
    expect(count).toBe(16);
  });

  it('the THRE test sees the interrupt each time that IER enables it, so no backup timer is used', () => {
    for (let i = 0; i < 2; i++) {
      outb(uart, IER, 0x02);
      expect(inb(uart, IIR) & 0x01).toBe(0);
      outb(uart, IER, 0);
    }
    // the TXEN test that follows
    outb(uart, IER, 0x02);
    expect(inb(uart, LSR) & 0x40).toBe(0x40);
    expect(inb(uart, IIR) & 0x01).toBe(0);
    outb(uart, IER, 0);
  });
});
