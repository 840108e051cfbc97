/** The board: what answers where, how wide accesses are split, what the report learns of holes, and when the run loop has
 * to wake. Port map: IBM PC/AT Technical Reference; what Linux does to it: arch/x86/pci/direct.c, i8259.c, i8253.c. */
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { UnbuiltDeviceFunction } from '../../src/devices/device.ts';
import { pitTime } from '../../src/devices/i8254.ts';
import { type Board, createBoard } from '../../src/machine/board.ts';
import { MmioBus } from '../../src/machine/mmio-bus.ts';
import { PioBus } from '../../src/machine/pio-bus.ts';

let now: number;
let printed: string;
let resets: string[];
let exits: number[];
let board: Board;
beforeEach(() => {
  now = 0;
  printed = '';
  resets = [];
  exits = [];
  board = createBoard({
    clock: () => now,
    console: (byte) => {
      printed += String.fromCharCode(byte);
    },
    onReset: (how) => resets.push(how),
    onDebugExit: (value) => exits.push(value),
  });
});

const inb = (port: number) => board.pio.in(port, 1);
const outb = (port: number, value: number) => board.pio.out(port, 1, value);

/** The 8259 pair as Linux leaves it: vectors 0x30 on, everything masked but what is named. */
function initialisePics(...open: number[]): void {
  for (const [port, base, cascade] of [
    [0x20, 0x30, 4],
    [0xa0, 0x38, 2],
  ] as const) {
    outb(port, 0x11);
    outb(port + 1, base);
    outb(port + 1, cascade);
    outb(port + 1, 0x01);
  }
  const mask = open.reduce((bits, irq) => bits & ~(1 << irq), 0xfffb);
  outb(0x21, mask & 0xff);
  outb(0xa1, mask >> 8);
}
const programTick = (count: number) => {
  outb(0x43, 0x34);
  outb(0x40, count & 0xff);
  outb(0x40, count >> 8);
};

describe('port map', () => {
  const answers = [
    // port, first read after power-on, who answers
    [0x021, 0xff, 'master IMR'],
    [0x0a1, 0xff, 'slave IMR'],
    [0x043, 0xff, 'i8254 control, write-only'],
    [0x060, 0xff, 'i8042 data'],
    [0x061, 0x20, 'OUT2 high'],
    [0x064, 0xfd, 'i8042 status'],
    [0x070, 0xff, 'RTC index, write-only'],
    [0x092, 0x02, 'A20 on'],
    [0x0e9, 0xe9, 'debug console'],
    [0x0f4, 0x00, 'debug-exit'],
    [0x3fd, 0x60, 'LSR of COM1'],
    [0xcf9, 0x00, 'reset control'],
    [0x2f9, 0xff, 'IER of COM2: absent'],
    [0x1f7, 0xff, 'IDE status: absent'],
    [0x3da, 0xff, 'VGA: absent'],
    [0x5658, 0xff, 'nobody'],
    [0xffff, 0xff, 'nobody'],
  ] as const;
  it.each(answers)('port %i reads %i (%s)', (port, value) => {
    expect(inb(port)).toBe(value);
  });

  it('reads absent ports as all-ones in each width, unsigned', () => {
    expect([board.pio.in(0x1f0, 1), board.pio.in(0x1f0, 2), board.pio.in(0x1f0, 4)]).toEqual([
      0xff, 0xffff, 0xffff_ffff,
    ]);
  });

  it('prints what goes to COM1 and to port 0xe9', () => {
    for (const byte of [0x68, 0x69]) outb(0x3f8, byte);
    outb(0xe9, 0x21);
    expect(printed).toBe('hi!');
  });

  it('sends port 0xe9 elsewhere when asked to', () => {
    let other = '';
    const two = createBoard({
      clock: () => 0,
      console: () => expect.unreachable(),
      debugConsole: (byte) => {
        other += String.fromCharCode(byte);
      },
      onReset: () => {},
      onDebugExit: () => {},
    });
    two.pio.out(0xe9, 1, 0x78);
    expect(other).toBe('x');
  });

  it('describes every device and every named hole in order of port, and no two devices share a port', () => {
    const lines = board.describe();
    const present = lines.filter((line) => line.present);
    expect(present.map(({ name, irq }) => (irq === undefined ? name : `${name} irq ${irq}`))).toEqual([
      'i8259 master',
      'i8254 irq 0',
      'i8042 data',
      'port 61',
      'i8042 command',
      'cmos rtc irq 8',
      'system control port A',
      'i8259 slave',
      'debug console',
      'debug-exit',
      'uart16550 irq 4',
      'reset control',
    ]);
    for (const [i, line] of present.entries()) {
      if (i > 0) expect(line.first).toBeGreaterThan(present[i - 1].last);
    }
    expect(lines.some((line) => line.name === 'VGA' && line.first === 0x3c0 && line.last === 0x3da)).toBe(true);
  });
});

describe('wide accesses', () => {
  it('to byte devices become single ones at rising ports', () => {
    board.pio.out(0x3f8 + 3, 1, 0x80);
    board.pio.out(0x3f8, 2, 0x1234);
    expect(board.pio.in(0x3f8, 2)).toBe(0x1234);
    board.pio.out(0x3f8 + 3, 1, 0x03);
    expect(board.pio.in(0x3fc, 4)).toBe(0x00b0_6000); // MCR, LSR, MSR, SCR
  });

  it('that reach past a device take the rest from whoever is there', () => {
    expect(board.pio.in(0x3ff, 2)).toBe(0xff00); // SCR, then nobody
    expect(board.pio.in(0x63, 2)).toBe(0xfdff);
    expect(board.pio.in(0xffff, 2)).toBe(0xffff); // wraps to port 0
  });

  it('to the debug-exit port are one value', () => {
    board.pio.out(0xf4, 4, 0x1_0010);
    board.pio.out(0xf4, 2, 0x1_0010);
    board.pio.out(0xf4, 1, 0x1_0010);
    expect(exits).toEqual([0x1_0010, 0x10, 0x10]);
  });

  it('to the PCI address port do not reset the machine by their second byte', () => {
    board.pio.out(0xcf8, 4, 0x8000_fe00);
    expect(board.pio.in(0xcf8, 4)).toBe(0xffff_ffff);
    expect(resets).toEqual([]);
    outb(0xcf9, 0x02);
    outb(0xcf9, 0x06);
    expect(resets).toEqual(['reset control register']);
  });
});

describe('resets', () => {
  it.each([
    [0x64, 0xfe],
    [0xcf9, 0x06],
    [0x92, 0x03],
  ])('port %i written %i asks for one', (port, value) => {
    outb(port, value);
    expect(resets.length).toBe(1);
  });
});

describe('what met no device', () => {
  it('is counted by range, with the names of known holes', () => {
    for (let i = 0; i < 3; i++) board.pio.out(0xcf8, 4, 0x8000_0000);
    board.pio.in(0xcfc, 4);
    board.pio.in(0x1234, 2);
    outb(0x80, 1);
    inb(0x3c4);
    inb(0x3c5);
    inb(0x3f8);
    expect(board.absentAccesses().ports).toEqual([
      { first: 0x80, last: 0x80, name: 'POST code and DMA pages', reads: 0, writes: 1 },
      { first: 0x3c4, last: 0x3c5, name: 'VGA', reads: 2, writes: 0 },
      { first: 0xcf8, last: 0xcf8, name: 'PCI configuration', reads: 0, writes: 3 },
      { first: 0xcfc, last: 0xcfc, name: 'PCI configuration', reads: 1, writes: 0 },
      { first: 0x1234, last: 0x1235, name: 'unassigned', reads: 2, writes: 0 },
    ]);
  });

  it('in memory reads all-ones and is counted by page', () => {
    expect(board.mmio.read(0xfee0_0020, 4)).toBe(0xffff_ffff);
    expect(board.mmio.read(0x4000_0000, 1)).toBe(0xff);
    board.mmio.write(0x4000_1000, 2, 7);
    expect(board.absentAccesses().memory).toEqual([
      { first: 0x4000_0000, last: 0x4000_1fff, name: 'unassigned', reads: 1, writes: 1 },
      { first: 0xfee0_0000, last: 0xfee0_0fff, name: 'local APIC', reads: 1, writes: 0 },
    ]);
  });

  it('does not grow without bound when a guest walks all of memory', () => {
    const bus = new MmioBus();
    for (let page = 0; page < 20_000; page++) bus.read(2 ** 40 + page * 8192, 4);
    const ranges = bus.absentAccesses();
    expect(ranges.length).toBe(4097);
    expect(ranges.at(-1)).toMatchObject({ name: 'elsewhere', reads: 20_000 - 4096 });
  });

  it('gives an MMIO device its offsets and widths', () => {
    const seen: (readonly [string, number, number, number?])[] = [];
    const bus = new MmioBus([
      {
        at: 0xfee0_0000,
        length: 0x1000,
        device: {
          name: 'x',
          read: (offset, size) => {
            seen.push(['read', offset, size]);
            return -2;
          },
          write: (offset, size, value) => seen.push(['write', offset, size, value]),
        },
      },
    ]);
    expect([bus.read(0xfee0_0020, 2), bus.read(0xfee0_0ffc, 4)]).toEqual([0xfffe, 0xffff_fffe]);
    bus.write(0xfee0_0fff, 1, 0x1ff);
    expect(bus.read(0xfee0_1000, 1)).toBe(0xff);
    expect(seen).toEqual([
      ['read', 0x20, 2],
      ['read', 0xffc, 4],
      ['write', 0xfff, 1, 0xff],
    ]);
  });
});

describe('events', () => {
  it('are none at power-on, since nothing can interrupt', () => {
    expect(board.nextEvent()).toBeUndefined();
    programTick(4773);
    expect(board.nextEvent()).toBeUndefined(); // masked
  });

  it('are the timer once its interrupt is open, and arrive as its vector', () => {
    initialisePics(0);
    programTick(4773);
    const due = pitTime(1 + 4773);
    expect(board.nextEvent()).toBe(due);
    now = due - 1;
    board.runEvents();
    expect(board.intr()).toBe(false);
    now = due;
    board.runEvents();
    expect(board.intr()).toBe(true);
    expect(board.acknowledge()).toBe(0x30);
    expect(board.nextEvent()).toBeUndefined(); // in service: another tick could not come through
    outb(0x20, 0x60);
    expect(board.nextEvent()).toBe(pitTime(1 + 2 * 4773));
  });

  it('show a masked tick in IRR when the guest looks, however long nobody ran them', () => {
    initialisePics();
    programTick(4773);
    now = 1_000_000_000;
    expect(inb(0x20) & 1).toBe(1);
    outb(0x21, 0xfa);
    expect(board.intr()).toBe(true);
  });

  it('are the earlier of timer and clock', () => {
    initialisePics(0, 8);
    outb(0x43, 0x30);
    outb(0x40, 0xff);
    outb(0x40, 0xff); // 55 ms
    outb(0x70, 0x0a);
    outb(0x71, 0x2f); // 2 Hz
    outb(0x70, 0x0b);
    outb(0x71, 0x42);
    expect(board.nextEvent()).toBe(pitTime(1 + 65_535));
    now = pitTime(1 + 65_535);
    board.runEvents();
    expect(board.acknowledge()).toBe(0x30);
    outb(0x20, 0x20);
    expect(board.nextEvent()).toBe(500_000_000);
    now = 500_000_000;
    board.runEvents();
    expect(board.acknowledge()).toBe(0x38);
  });

  it('take Linux through its chip test: the mask 0xfb reads back (probe_8259A)', () => {
    outb(0xa1, 0xff);
    outb(0x21, 0xfb);
    expect(inb(0x21)).toBe(0xfb);
  });
});

describe('serial input', () => {
  const poll = () => {
    let text = '';
    while (inb(0x3fd) & 1) text += String.fromCharCode(inb(0x3f8));
    return text;
  };
  const bytes = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));

  it.each([
    ['without FIFOs', 0x00],
    ['with FIFOs', 0xc7],
  ])('of any length arrives whole and in order %s', (_how, fcr) => {
    outb(0x3fa, fcr);
    const text = 'The quick brown fox jumps over the lazy dog, twice. '.repeat(4);
    board.send(bytes(text.slice(0, 30)));
    board.send(bytes(''));
    board.send(bytes(text.slice(30)));
    expect(board.pendingInput()).toBe(text.length - (fcr ? 16 : 1));
    expect(poll()).toBe(text);
    expect(board.pendingInput()).toBe(0);
  });

  it('interrupts on IRQ 4 until the receiver is empty', () => {
    initialisePics(4);
    outb(0x3fc, 0x0b);
    outb(0x3f9, 0x01);
    board.send(bytes('ab'));
    expect(board.acknowledge()).toBe(0x34);
    outb(0x20, 0x64);
    expect(poll()).toBe('ab');
    expect(board.intr()).toBe(false);
  });

  it('waits while the guest has the port in loopback', () => {
    outb(0x3fc, 0x10);
    board.send(bytes('x'));
    expect(poll()).toBe('');
    outb(0x3fc, 0x03);
    expect(poll()).toBe('x');
  });
});

describe('any sequence of port accesses', () => {
  const size = fc.constantFrom(1, 2, 4) as fc.Arbitrary<1 | 2 | 4>;
  const interesting = fc.constantFrom(
    0x1f, 0x20, 0x21, 0x40, 0x41, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x92, 0xa0, 0xa1, 0xe9, 0xf4, 0x3f8, 0x3f9,
    0x3fa, 0x3fb, 0x3fc, 0x3fd, 0xcf8, 0xcf9, 0xcfc,
  ); // biome-ignore format: a list of ports
  const step = fc.record({
    port: fc.oneof({ weight: 4, arbitrary: interesting }, { weight: 1, arbitrary: fc.nat(0xffff) }),
    size,
    write: fc.boolean(),
    value: fc.oneof(fc.nat(255), fc.integer()),
    wait: fc.oneof(fc.nat(100), fc.nat(10_000_000)),
  });

  it('gives values within their width and throws only UnbuiltDeviceFunction, on the same board each time the same', () => {
    const play = (steps: { port: number; size: 1 | 2 | 4; write: boolean; value: number; wait: number }[]) => {
      let time = 0;
      const log: unknown[] = [];
      const wild = createBoard({
        clock: () => time,
        console: (byte) => log.push(byte),
        onReset: (how) => log.push(how),
        onDebugExit: (value) => log.push(value),
      });
      wild.send(new Uint8Array(40).fill(0x41));
      for (const { port, size, write, value, wait } of steps) {
        time += wait;
        try {
          if (write) wild.pio.out(port, size, value);
          else {
            const answer = wild.pio.in(port, size);
            expect(Number.isInteger(answer) && answer >= 0 && answer < 2 ** (8 * size)).toBe(true);
            log.push(answer);
          }
          wild.runEvents();
          const next = wild.nextEvent();
          expect(next === undefined || next > time).toBe(true);
          if (wild.intr()) {
            const vector = wild.acknowledge();
            expect(vector >= 0 && vector <= 0xff).toBe(true);
            log.push(vector);
          }
        } catch (error) {
          if (!(error instanceof UnbuiltDeviceFunction)) throw error;
          log.push(error.message);
        }
      }
      return log;
    };
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        expect(play(steps)).toEqual(play(steps));
      }),
      { numRuns: 200 },
    );
  });
});

describe('the port table', () => {
  it('lets a later row take a port out of an earlier one', () => {
    const device = { name: 'inner', read: () => 7, write: () => {} };
    const bus = new PioBus([
      { port: 0x10, length: 4, absent: 'hole' },
      { port: 0x12, length: 1, device },
    ]);
    expect([0x11, 0x12, 0x13].map((port) => bus.in(port, 1))).toEqual([0xff, 7, 0xff]);
  });

  it('refuses a row that does not fit', () => {
    expect(() => new PioBus([{ port: 0xffff, length: 2, absent: 'x' }])).toThrow('broken belief');
  });
});
