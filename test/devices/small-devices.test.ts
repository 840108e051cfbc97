/** The devices of a few lines: i8042 reset, reset registers, debug-exit, debug console. And one property of all
 * devices: whatever a guest does to their ports, they answer within the width or name what is not built. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CmosRtc } from '../../src/devices/cmos-rtc.ts';
import { DebugConsole } from '../../src/devices/debug-console.ts';
import { DebugExit } from '../../src/devices/debug-exit.ts';
import { type Device, UnbuiltDeviceFunction } from '../../src/devices/device.ts';
import { I8042 } from '../../src/devices/i8042.ts';
import { I8254 } from '../../src/devices/i8254.ts';
import { I8259Pair } from '../../src/devices/i8259.ts';
import { Port61 } from '../../src/devices/port61.ts';
import { ResetControl, SystemControlA } from '../../src/devices/reset-control.ts';
import { Uart16550 } from '../../src/devices/uart16550.ts';
import { inb, ManualClock, outb } from './machine-clock.ts';

describe('i8042', () => {
  it.each([
    [0xfe, 1],
    [0xf0, 1], // pulses all four lines, reset among them
    [0xff, 0], // pulses none
    [0xf1, 0],
    [0xaa, 0],
    [0x60, 0],
  ])('command %i asks for %i resets', (command, resets) => {
    const asked: string[] = [];
    outb(new I8042((how) => asked.push(how)).command, 0, command);
    expect(asked.length).toBe(resets);
  });

  it('lets Linux find out in 16 reads that there is no controller (i8042_flush)', () => {
    const { command, data } = new I8042(() => {});
    let reads = 0;
    while (inb(command, 0) & 1 && reads < 16) {
      expect(inb(data, 0)).toBe(0xff);
      reads++;
    }
    expect(reads).toBe(16);
  });

  it('never keeps a reboot loop waiting for the input buffer (kb_wait)', () => {
    expect(inb(new I8042(() => {}).command, 0) & 2).toBe(0);
  });
});

describe('reset registers', () => {
  it.each([
    // writes, resets
    [[0x02, 0x06], 1],
    [[0x06], 1],
    [[0x0e, 0x0e], 1], // only the rising bit counts
    [[0x04, 0x00, 0x04], 2],
    [[0x0a], 0],
  ] as const)('reset control written %j resets %i times', (writes, resets) => {
    let asked = 0;
    const device = new ResetControl(() => asked++);
    for (const value of writes) outb(device, 0, value);
    expect(asked).toBe(resets);
    expect(inb(device, 0)).toBe(writes.at(-1));
  });

  it('port 92 starts with A20 on, resets on bit 0, and names a request to switch A20 off', () => {
    const asked: string[] = [];
    const device = new SystemControlA((how) => asked.push(how));
    expect(inb(device, 0)).toBe(0x02);
    outb(device, 0, 0x02);
    expect(asked).toEqual([]);
    expect(() => outb(device, 0, 0x00)).toThrow(UnbuiltDeviceFunction);
    outb(device, 0, 0x03);
    expect(asked).toEqual(['system control port A']);
  });
});

describe('debug ports', () => {
  it.each([
    [1, 0x1234_5678, 0x78],
    [2, 0x1234_5678, 0x5678],
    [4, -1, 0xffff_ffff],
  ] as const)('debug-exit takes %i bytes of a value whole', (size, written, value) => {
    const values: number[] = [];
    const device = new DebugExit((v) => values.push(v));
    device.write(0, size, written);
    device.write(1, 1, 9); // not its first port
    expect(values).toEqual([value]);
    expect(device.read(0, 1)).toBe(0);
  });

  it('the debug console reads 0xe9 and passes bytes on', () => {
    const bytes: number[] = [];
    const device = new DebugConsole((byte) => bytes.push(byte));
    expect(inb(device, 0)).toBe(0xe9);
    for (const byte of [0x6f, 0x6b, 0x10a]) outb(device, 0, byte);
    expect(bytes).toEqual([0x6f, 0x6b, 0x0a]);
  });
});

describe('any sequence of accesses', () => {
  /** Each device with how many registers it has and what time does to it. */
  const makers: Record<string, (clock: ManualClock) => { device: Device; length: number; between?: () => void }> = {
    uart16550: () => {
      const uart = new Uart16550({ name: 'uart16550', transmit: () => {}, irq: () => {} });
      return { device: uart, length: 8, between: () => uart.receive(0x55) };
    },
    i8254: (clock) => ({ device: new I8254(clock.read, () => {}), length: 4 }),
    port61: (clock) => ({ device: new Port61(new I8254(clock.read, () => {})), length: 1 }),
    'i8259 master': () => {
      const pic = new I8259Pair();
      let high = false;
      const between = () => {
        high = !high;
        for (const irq of [0, 4, 8, 12]) pic.line(irq)(high);
        if (pic.intr) pic.acknowledge();
      };
      return { device: pic.master, length: 2, between };
    },
    'i8259 slave': () => {
      const pic = new I8259Pair();
      return { device: pic.slave, length: 2, between: () => pic.line(9)(true) };
    },
    'cmos rtc': (clock) => ({ device: new CmosRtc({ clock: clock.read, irq: () => {} }), length: 2 }),
    'i8042 command': () => ({ device: new I8042(() => {}).command, length: 1 }),
    'reset control': () => ({ device: new ResetControl(() => {}), length: 1 }),
    'system control port A': () => ({ device: new SystemControlA(() => {}), length: 1 }),
    'debug-exit': () => ({ device: new DebugExit(() => {}), length: 4 }),
  };
  const step = fc.record({
    offset: fc.nat(7),
    write: fc.boolean(),
    value: fc.nat(255),
    wait: fc.oneof(fc.nat(2000), fc.nat(3_000_000_000)),
  });

  it.each(Object.keys(makers))(
    '%s answers bytes, knows when it wants time, and throws only UnbuiltDeviceFunction',
    (name) => {
      fc.assert(
        fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
          const clock = new ManualClock();
          const { device, length, between } = makers[name](clock);
          for (const { offset, write, value, wait } of steps) {
            clock.ns += wait;
            try {
              between?.();
              if (write) device.write(offset % length, 1, value);
              else {
                const answer = device.read(offset % length, 1);
                expect(Number.isInteger(answer) && answer >= 0 && answer <= 0xff).toBe(true);
              }
              const next = device.nextEvent?.();
              expect(next === undefined || (Number.isSafeInteger(next) && next >= 0)).toBe(true);
              device.tick?.();
              const later = device.nextEvent?.();
              expect(later === undefined || later > clock.ns).toBe(true); // a tick leaves nothing due
            } catch (error) {
              if (!(error instanceof UnbuiltDeviceFunction)) throw error;
            }
          }
        }),
        { numRuns: 150 },
      );
    },
  );
});
