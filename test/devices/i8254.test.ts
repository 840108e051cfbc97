/** The 8254 by its data sheet (Intel 231164) and against exact rational time; Linux's calibration loops by their shape
 * (arch/x86/kernel/tsc.c: quick_pit_calibrate, pit_calibrate_tsc). */
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { I8254, pitEdges, pitTime } from '../../src/devices/i8254.ts';
import { Port61 } from '../../src/devices/port61.ts';
import { inb, ManualClock, outb, RecordedLine } from './machine-clock.ts';

const CONTROL = 3;

let clock: ManualClock;
let line: { level: boolean; rises: number; pull: (level: boolean) => void };
let pit: I8254;
let port61: Port61;
beforeEach(() => {
  clock = new ManualClock();
  line = new RecordedLine();
  line.level = true; // OUT of an unprogrammed counter 0 is high
  pit = new I8254(clock.read, line.pull);
  port61 = new Port61(pit);
});

/** Moves to the instant of the n-th clock edge. */
const toEdge = (edge: number) => {
  clock.ns = pitTime(edge);
};
const program = (channel: number, control: number, ...bytes: number[]) => {
  outb(pit, CONTROL, (channel << 6) | control);
  for (const byte of bytes) outb(pit, channel, byte);
};
const count16 = (channel: number) => inb(pit, channel) | (inb(pit, channel) << 8);
const latched = (channel: number) => {
  outb(pit, CONTROL, channel << 6);
  return count16(channel);
};
/** OUT, by the read-back command: status only, bit 7. */
const out = (channel: number) => {
  outb(pit, CONTROL, 0xe0 | (2 << channel));
  return inb(pit, channel) >> 7;
};
/** OUT at each edge from the load on, as a string. */
const wave = (channel: number, edges: number, load = 1) => {
  let text = '';
  for (let e = 0; e < edges; e++) {
    toEdge(load + e);
    text += out(channel) ? '-' : '_';
  }
  return text;
};

describe('clock edges', () => {
  const exact = (ns: number) => Number((BigInt(ns) * 1_193_182n) / 1_000_000_000n);

  it('are floor(ns * 1193182 / 10^9), exactly, over months', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), (ns) => {
        expect(pitEdges(ns)).toBe(exact(ns));
      }),
    );
  });

  it('happen at the first nanosecond that counts them', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000_000_000_000 }), (edge) => {
        const ns = pitTime(edge);
        expect(exact(ns)).toBe(edge);
        expect(exact(ns - 1)).toBe(edge - 1);
      }),
    );
  });
});

describe('modes ("Mode Definitions"), OUT from the edge that loads the count', () => {
  beforeEach(() => outb(port61, 0, 1)); // gate of counter 2 high

  const waves = [
    // control, count bytes, OUT, what
    [0x30, [4, 0], '____--------', 'mode 0: low, high after N edges, stays high'],
    [0x34, [4, 0], '---_---_---_', 'mode 2: low for the last edge of each period'],
    [0x36, [4, 0], '--__--__--__', 'mode 3, even: halves'],
    [0x36, [5, 0], '---__---__---__', 'mode 3, odd: one edge more high than low'],
    [0x3c, [4, 0], '---_---_---_', 'mode 6 is mode 2'],
    [0x3e, [4, 0], '--__--__--__', 'mode 7 is mode 3'],
    [0x38, [4, 0], '----_-------', 'mode 4: one low edge after N, once'],
    [0x32, [4, 0], '------------', 'mode 1 waits for its gate'],
    [0x3a, [4, 0], '------------', 'mode 5 waits for its gate'],
    [0x10, [3], '___-----', 'mode 0, low byte only'],
    [0x31, [0x10, 0], '__________------', 'mode 0, BCD 10'],
  ] as const;
  it.each(waves)('control %i with %j gives %s (%s)', (control, bytes, shape) => {
    program(0, control, ...bytes);
    expect(wave(0, shape.length)).toBe(shape);
    clock.ns = 0;
  });

  it.each([
    [0x32, '____--------', 'mode 1: low for N edges after the trigger'],
    [0x3a, '----_-------', 'mode 5: one low edge N after the trigger'],
  ])('control %i starts when the gate rises, and again: %s', (control, shape) => {
    outb(port61, 0, 0);
    program(2, control, 4, 0);
    toEdge(10);
    expect(out(2)).toBe(1);
    outb(port61, 0, 1);
    expect(wave(2, shape.length, 11)).toBe(shape);
    outb(port61, 0, 0);
    outb(port61, 0, 1);
    expect(wave(2, shape.length, 11 + shape.length)).toBe(shape);
  });

  it('the gate pauses modes 0 and 4 and restarts modes 2 and 3 with OUT high meanwhile', () => {
    program(2, 0x30, 100, 0);
    toEdge(1 + 40);
    outb(port61, 0, 0);
    toEdge(1000);
    expect(latched(2)).toBe(60);
    outb(port61, 0, 1);
    toEdge(1000 + 59);
    expect(out(2)).toBe(0);
    toEdge(1000 + 60);
    expect(out(2)).toBe(1);

    program(2, 0x36, 100, 0);
    toEdge(1061 + 70);
    expect(out(2)).toBe(0);
    outb(port61, 0, 0);
    expect(out(2)).toBe(1);
    toEdge(5000);
    outb(port61, 0, 1);
    expect(wave(2, 101, 5001)).toBe(`${'-'.repeat(50)}${'_'.repeat(50)}-`);
  });

  it('a new count in mode 2 takes over at the end of the period, in mode 3 at the end of the half', () => {
    program(0, 0x34, 6, 0);
    toEdge(1 + 2);
    outb(pit, 0, 3);
    outb(pit, 0, 0);
    expect(wave(0, 13)).toBe('-----_--_--_-');
    clock.ns = 0;

    const other = new ManualClock();
    clock = other;
    pit = new I8254(other.read, () => {});
    program(0, 0x36, 8, 0);
    toEdge(1 + 1);
    outb(pit, 0, 4);
    outb(pit, 0, 0);
    expect(wave(0, 14, 1).slice(2)).toBe('--__--__--__');
  });

  it('the first byte of a new count stops mode 0 and takes OUT low; the second starts it', () => {
    program(0, 0x30, 2, 0);
    toEdge(10);
    expect(out(0)).toBe(1);
    outb(pit, 0, 5);
    expect(out(0)).toBe(0);
    toEdge(100);
    expect(out(0)).toBe(0);
    outb(pit, 0, 0);
    expect(wave(0, 8, 101)).toBe('_____---');
  });
});

describe('against a counter that steps edge by edge', () => {
  /** The data sheet's definitions taken literally: one state, one step to a clock edge. Counts are below 256. */
  class Stepper {
    mode = 0;
    gate = false;
    out = true;
    count: number | undefined; // the counting element, once it is loaded
    private register = 0;
    private loadNext = false;
    private live = false; // modes 4 and 5: the strobe is still to come
    private high = true; // mode 3: which half

    control(mode: number): void {
      this.mode = mode;
      this.out = mode !== 0;
      this.count = undefined;
      this.loadNext = false;
      this.live = false;
    }

    write(count: number): void {
      this.register = count;
      if (this.mode === 0) this.out = false;
      if (this.mode === 0 || this.mode === 4) this.loadNext = true;
      if ((this.mode === 2 || this.mode === 3) && this.count === undefined && this.gate) this.loadNext = true;
      this.written = true;
    }
    private written = false;

    setGate(gate: boolean): void {
      const rises = gate && !this.gate;
      this.gate = gate;
      if (rises && this.written && [1, 2, 3, 5].includes(this.mode)) this.loadNext = true;
      if (!gate && (this.mode === 2 || this.mode === 3)) {
        this.out = true;
        this.loadNext = false;
        this.count = undefined;
      }
    }

    edge(): void {
      if (this.loadNext) {
        this.loadNext = false;
        this.load(true);
        if (this.mode === 1) this.out = false;
        if (this.mode >= 4) this.out = true;
        this.live = true;
        return;
      }
      if (this.count === undefined) return;
      if (!this.gate && this.mode !== 1 && this.mode !== 5) return;
      if (this.mode === 3) this.squareWave();
      else this.decrement();
    }

    private load(high: boolean): void {
      this.high = high;
      this.count = this.mode === 3 ? this.register - (this.register % 2) : this.register;
      this.oddRest = high && this.register % 2 === 1;
      if (this.mode === 3) this.out = high;
    }
    private oddRest = false;

    private squareWave(): void {
      const count = this.count as number;
      if (count > 2 || (count === 2 && this.oddRest)) this.count = count - 2;
      else this.load(!this.high); // an odd high half lasts one edge longer, at zero
    }

    private decrement(): void {
      this.count = ((this.count as number) - 1) & 0xffff;
      if (this.mode === 2) {
        if (this.count === 0) this.count = this.register;
        this.out = this.count !== 1;
      } else if (this.mode < 2) {
        if (this.count === 0) this.out = true;
      } else {
        this.out = !(this.count === 0 && this.live);
        if (this.count === 0) this.live = false;
      }
    }
    forget(): void {
      this.written = false;
    }
  }

  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('run' as const), edges: fc.integer({ min: 1, max: 9 }) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('gate' as const) }) },
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constant('write' as const), count: fc.integer({ min: 2, max: 12 }) }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('control' as const), mode: fc.nat(5) }) },
  );

  it('shows the same OUT and the same count after every edge, whatever is written and however the gate moves', () => {
    fc.assert(
      fc.property(fc.nat(5), fc.array(step, { maxLength: 40 }), (firstMode, steps) => {
        clock = new ManualClock();
        pit = new I8254(clock.read, () => {});
        const stepper = new Stepper();
        let edge = 0;
        let gate = false;
        const control = (mode: number) => {
          outb(pit, CONTROL, 0x90 | (mode << 1)); // low byte only
          stepper.control(mode);
          stepper.forget();
        };
        control(firstMode);
        for (const one of steps) {
          if (one.kind === 'control') control(one.mode);
          else if (one.kind === 'write') {
            outb(pit, 2, one.count);
            stepper.write(one.count);
          } else if (one.kind === 'gate') {
            gate = !gate;
            pit.setGate2(gate);
            stepper.setGate(gate);
          } else {
            for (let i = 0; i < one.edges; i++) {
              toEdge(++edge);
              stepper.edge();
              expect(pit.out2()).toBe(stepper.out);
              if (stepper.count === undefined) continue;
              outb(pit, CONTROL, 0x80);
              expect(inb(pit, 2)).toBe(stepper.count & 0xff);
            }
          }
        }
      }),
      { numRuns: 600 },
    );
  });
});

describe('counting', () => {
  const counts = [
    // control, bytes, edges after the load, value
    [0x34, [0x00, 0x10], 0, 0x1000, 'mode 2 begins at N'],
    [0x34, [0x00, 0x10], 0xfff, 1, 'mode 2 ends at 1'],
    [0x34, [0x00, 0x10], 0x1000, 0x1000, 'mode 2 reloads'],
    [0x34, [0, 0], 1, 0xffff, 'a count of 0 is 65536'],
    [0x36, [8, 0], 3, 2, 'mode 3 counts down by two'],
    [0x36, [8, 0], 5, 6, 'mode 3, second half'],
    [0x36, [9, 0], 4, 0, 'mode 3, odd: N - 1 down to 0 while high'],
    [0x36, [9, 0], 8, 2, 'mode 3, odd: N - 1 down to 2 while low'],
    [0x30, [3, 0], 5, 0xfffe, 'mode 0 runs on through zero'],
    [0x31, [0x03, 0], 5, 0x9998, 'BCD runs on at 9999'],
    [0x31, [0, 0], 1, 0x9999, 'BCD 0 is 10000'],
    [0x35, [0x50, 0x12], 51, 0x1199, 'BCD borrows by tens'],
  ] as const;
  it.each(counts)('control %i, count %j, %i edges on: %i (%s)', (control, bytes, edges, value) => {
    program(0, control, ...bytes);
    toEdge(1 + edges);
    expect(latched(0)).toBe(value);
  });

  it('shows the new count from its last byte on, and loads it at the next edge (null count)', () => {
    clock.ns = pitTime(7) + 1;
    program(0, 0x34, 0x34, 0x12);
    outb(pit, CONTROL, 0xe2);
    expect(inb(pit, 0)).toBe(0x80 | 0x40 | 0x34);
    expect(latched(0)).toBe(0x1234);
    toEdge(8);
    outb(pit, CONTROL, 0xe2);
    expect(inb(pit, 0)).toBe(0x80 | 0x34);
    expect(latched(0)).toBe(0x1234);
    toEdge(9);
    expect(latched(0)).toBe(0x1233);
  });

  it('latches once until both bytes are read ("Counter Latch Command")', () => {
    program(0, 0x34, 0, 0x80);
    toEdge(1 + 0x10);
    outb(pit, CONTROL, 0x00);
    toEdge(1 + 0x20);
    outb(pit, CONTROL, 0x00); // ignored
    expect(count16(0)).toBe(0x7ff0);
    expect(count16(0)).toBe(0x7fe0); // unlatched: live
  });

  it('reads back status first, then count, for the counters that are named ("Read-Back Command")', () => {
    program(0, 0x34, 0x10, 0);
    program(1, 0x14, 18);
    toEdge(5);
    outb(pit, CONTROL, 0xc6); // count and status of 0 and 1
    expect(inb(pit, 0)).toBe(0x80 | 0x34);
    expect(count16(0)).toBe(0x10 - 4);
    expect(inb(pit, 1)).toBe(0x80 | 0x14);
    expect(inb(pit, 1)).toBe(18 - 4);
  });

  it.each([
    [0x14, 0x34, [0x34]],
    [0x24, 0x1200, [0x12]],
    [0x34, 0x1234, [0x34, 0x12]],
  ] as const)('access mode of control %i reads and writes count %i as bytes %j', (control, _count, bytes) => {
    program(0, control, ...bytes);
    expect(bytes.map(() => inb(pit, 0))).toEqual(bytes);
  });

  it('does not drive the bus for a read of the control port', () => {
    expect(inb(pit, CONTROL)).toBe(0xff);
  });
});

describe('interrupt of counter 0', () => {
  const expectRise = (edge: number) => {
    const before = line.rises;
    expect(pit.nextEvent()).toBe(pitTime(edge));
    clock.ns = pitTime(edge) - 1;
    pit.tick();
    expect(line.rises).toBe(before);
    clock.ns = pitTime(edge);
    pit.tick();
    expect(line.rises).toBe(before + 1);
  };

  it('comes each period of mode 2 at exact rational times, without drift (Linux: 250 Hz, latch 4773)', () => {
    clock.ns = 123_456;
    const load = pitEdges(clock.ns) + 1;
    program(0, 0x34, 4773 & 0xff, 4773 >> 8);
    for (let n = 1; n <= 1000; n++) expectRise(load + 4773 * n);
    // a thousand periods: ceil(edge * 10^9 / 1193182)
    const edge = BigInt(load + 4_773_000);
    expect(clock.ns).toBe(Number((edge * 1_000_000_000n + 1_193_181n) / 1_193_182n));
  });

  it.each([
    [0x30, 1000, 'mode 0: at terminal count, once'],
    [0x38, 1001, 'mode 4: after the strobe, once (Linux one-shot)'],
  ])('control %i rises %i edges after the load: %s', (control, edges) => {
    program(0, control, 1000 & 0xff, 1000 >> 8);
    expectRise(1 + edges);
    expect(pit.nextEvent()).toBeUndefined();
  });

  it('is one pulse however many periods were missed', () => {
    program(0, 0x34, 100, 0);
    clock.ns = 1_000_000_000;
    const before = line.rises;
    pit.tick();
    pit.tick();
    expect(line.rises).toBe(before + 1);
    expect(pit.nextEvent()).toBeGreaterThan(clock.ns);
  });

  it('never comes after Linux shuts the timer down with 0x30 and no count', () => {
    program(0, 0x34, 100, 0);
    outb(pit, CONTROL, 0x30);
    expect(line.level).toBe(false);
    expect(pit.nextEvent()).toBeUndefined();
  });

  it('is not lost when a new count takes over before anybody looked', () => {
    program(0, 0x34, 10, 0);
    toEdge(5);
    outb(pit, 0, 20);
    outb(pit, 0, 0);
    toEdge(13); // the first period ended at edge 11
    const before = line.rises;
    latched(0);
    expect(line.rises).toBe(before + 1);
    expect(pit.nextEvent()).toBe(pitTime(31));
  });
});

describe('the next event', () => {
  it('is the next edge at which OUT of counter 0 really rises, also across a new count', () => {
    const count = fc.integer({ min: 2, max: 20 });
    fc.assert(
      fc.property(
        fc.constantFrom(0, 2, 3, 4),
        count,
        fc.nat(50),
        count,
        fc.nat(50),
        (mode, first, run, second, more) => {
          clock = new ManualClock();
          pit = new I8254(clock.read, () => {});
          program(0, 0x10 | (mode << 1), first);
          toEdge(run);
          if (run % 2) outb(pit, 0, second);
          const from = run + more;
          toEdge(from);
          pit.tick();
          const event = pit.nextEvent();
          // Looking at OUT edge by edge from here on finds the same edge first.
          let before = out(0);
          let rise: number | undefined;
          for (let edge = from + 1; edge < from + 60 && rise === undefined; edge++) {
            toEdge(edge);
            const now = out(0);
            if (now && !before) rise = edge;
            before = now;
          }
          expect(event).toBe(rise === undefined ? undefined : pitTime(rise));
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('port 0x61', () => {
  it('shows gate and speaker bits as written, OUT2 in bit 5, the refresh toggle in bit 4', () => {
    outb(port61, 0, 0xff);
    expect(inb(port61, 0) & 0x0f).toBe(0x0f);
    program(2, 0x30, 10, 0);
    expect(inb(port61, 0) & 0x20).toBe(0);
    toEdge(1 + 10);
    expect(inb(port61, 0) & 0x20).toBe(0x20);
    const toggles = [0, 17, 18, 35, 36].map((edge) => {
      toEdge(edge);
      return (inb(port61, 0) >> 4) & 1;
    });
    expect(toggles).toEqual([0, 0, 1, 1, 0]);
  });
});

describe("Linux's calibration", () => {
  /** One instruction is a nanosecond and the TSC counts nanoseconds; the loops have about six to an access. With fewer
   * than three the 214 us of one most significant byte would take more than the 50000 turns that Linux allows. */
  const cost = 6;
  const read = (channel: number) => {
    clock.ns += cost;
    return inb(pit, channel);
  };
  const write = (offset: number, value: number) => {
    clock.ns += cost;
    outb(pit, offset, value);
  };

  it('quick_pit_calibrate succeeds within a few most significant bytes and finds 1 GHz', () => {
    clock.ns = 31_337_123;
    outb(port61, 0, (inb(port61, 0) & ~0x02) | 0x01);
    write(CONTROL, 0xb0);
    write(2, 0xff);
    write(2, 0xff);
    const msb = () => {
      read(2);
      return read(2);
    };
    msb(); // pit_verify_msb(0): waits for the load on a PC
    /** Reads until the byte changes: how often it was seen, when it changed, and how exact that is. */
    const expectMsb = (value: number) => {
      let seen = 0;
      let tsc = 0;
      let before = 0;
      for (; seen < 50_000; seen++) {
        if (msb() !== value) break;
        before = tsc;
        tsc = clock.ns;
      }
      return { good: seen > 5, tsc, error: clock.ns - before };
    };
    const first = expectMsb(0xff);
    expect(first.good).toBe(true);
    let found: number | undefined;
    for (let i = 1; i <= 0xe9 && found === undefined; i++) {
      const next = expectMsb(0xff - i);
      expect(next.good).toBe(true);
      const delta = next.tsc - first.tsc;
      expect(i === 1 && first.error + next.error >= (delta * 233) >> 11).toBe(false);
      if (first.error + next.error >= delta >> 11) continue;
      found = (delta * 1_193_182) / (i * 256 * 1000); // kHz
    }
    expect(Math.abs((found ?? 0) - 1_000_000)).toBeLessThan(500);
  });

  it('pit_calibrate_tsc sees OUT2 rise after 10 ms', () => {
    outb(port61, 0, (inb(port61, 0) & ~0x02) | 0x01);
    const latch = Math.floor(1_193_182 / 100);
    write(CONTROL, 0xb0);
    write(2, latch & 0xff);
    write(2, latch >> 8);
    const start = clock.ns;
    let polls = 0;
    while (!(inb(port61, 0) & 0x20)) {
      clock.ns += 7;
      polls++;
    }
    expect(polls).toBeGreaterThan(1000);
    expect(Math.abs(clock.ns - start - 10_000_000)).toBeLessThan(2000);
  });
});
