/** The 8254 interval timer: three counters at 1193182 Hz, six modes, computed and not stepped.
 *
 * A counter is a load edge and a count; what it shows at any time follows from arithmetic on the number of clock edges
 * since then, so a timer that nobody looks at costs nothing. The clock is 1193182/10^9 edges per nanosecond, exactly:
 * edges are numbered from virtual time 0 and all three counters share them.
 * Follows: Intel 8254 data sheet (order 231164), "Mode definitions", "Counter latch" and "Read-back command".
 * Departures, each because a port access here takes 1 ns where a PC needs about a microsecond:
 * - between a count's last byte and the clock edge that loads it, reads give the new count (Linux's quick calibration
 *   reads it back at once); the null-count flag of the read-back command is exact;
 * - the wire of counter 0 is pulled low only by a mode that begins low and for an instant before each rise; the short
 *   or half-period low phases of modes 2, 3 and 4 show in the status byte alone.
 * A count of 1 in mode 2 or 3 is illegal by the data sheet; here OUT then never moves.
 * May not: know its ports, or who gates counter 2.   Next: devices/port61.ts. */
import {
  anything,
  flag,
  integer,
  keepFields,
  maybe,
  misfit,
  putFields,
  record,
  type Saved,
  type Shape,
  whole,
} from '../base/saved.ts';
import type { Clock, Device, IrqLine } from './device.ts';

/** 1193182 Hz = 596591 edges in 500 ms, in lowest terms; every product below stays exact in a double. */
const EDGES = 596_591;
const SPAN = 500_000_000;

/** How many clock edges have happened at `ns`. */
export function pitEdges(ns: number): number {
  const rest = ns % SPAN;
  const product = rest * EDGES;
  return ((ns - rest) / SPAN) * EDGES + (product - (product % SPAN)) / SPAN;
}

/** The first nanosecond at which `edges` clock edges have happened. */
export function pitTime(edges: number): number {
  const rest = edges % EDGES;
  const product = rest * SPAN;
  const past = product % EDGES;
  return ((edges - rest) / EDGES) * SPAN + (product - past) / EDGES + (past > 0 ? 1 : 0);
}

const ACCESS = { LATCH: 0, LOW: 1, HIGH: 2, BOTH: 3 } as const;

const u16 = whole(0xffff);
/** What a counter counts from: a full modulus is 65536. */
const count = whole(65_536, 1);
const next: Shape<{ n: number; at: number; load: number }> = record({ n: count, at: integer, load: integer });
const COUNTER_FIELDS = {
  mode: whole(5), access: whole(3), bcd: flag, reload: whole(65_536), written: flag, lowByte: maybe(u16), readHighNext: flag,
  latchedCount: maybe(u16), latchedStatus: maybe(u16), n: maybe(count), load: integer, next: maybe(next), held: maybe(whole()),
  gate: flag, reported: integer,
}; // biome-ignore format: a list

class Counter {
  mode = 3; // as if a control word had come without a count: OUT is high and nothing runs
  private access: number = ACCESS.BOTH;
  private bcd = false;
  private reload = 0; // the count register, decoded
  private written = false; // since the last control word; before that a trigger starts nothing
  private lowByte: number | undefined; // first byte of a two-byte write
  private readHighNext = false;
  private latchedCount: number | undefined;
  private latchedStatus: number | undefined;

  /** Counting: the count `n` was or will be loaded at edge `load`. Undefined: nothing to count (yet). */
  private n: number | undefined;
  private load = 0;
  /** A count written while modes 2 and 3 run waits for this edge. */
  private next: { n: number; at: number; load: number } | undefined;
  /** Edges counted when the gate went low in a mode that pauses, or the count's first byte was written in mode 0. */
  private held: number | undefined;
  gate = true;

  /** Last rising edge of OUT that was reported to the wire. */
  private reported = -1;

  save(): Saved {
    return keepFields(this, COUNTER_FIELDS);
  }

  restore(saved: Saved, where: string): void {
    putFields(this, COUNTER_FIELDS, saved, where);
  }

  private get modulus(): number {
    return this.bcd ? 10_000 : 65_536;
  }

  control(word: number, edges: number): void {
    this.access = (word >> 4) & 3;
    const mode = (word >> 1) & 7;
    this.mode = mode > 5 ? mode & 3 : mode; // bit 2 is "don't care" for modes 2 and 3
    this.bcd = (word & 1) !== 0;
    this.lowByte = undefined;
    this.readHighNext = false;
    this.latchedCount = undefined;
    this.latchedStatus = undefined;
    this.written = false;
    this.n = undefined;
    this.next = undefined;
    this.held = undefined;
    this.reported = edges;
  }

  write(byte: number, edges: number): void {
    this.advance(edges);
    if (this.access === ACCESS.BOTH && this.lowByte === undefined) {
      this.lowByte = byte;
      // Mode 0: the first byte stops the count and takes OUT low.
      if (this.mode === 0 && this.n !== undefined) this.n = undefined;
      return;
    }
    const low = this.access === ACCESS.BOTH ? (this.lowByte ?? 0) : this.access === ACCESS.LOW ? byte : 0;
    const high = this.access === ACCESS.LOW ? 0 : byte;
    this.lowByte = undefined;
    this.reload = this.decode((high << 8) | low);
    this.written = true;
    this.begin(edges);
  }

  /** A complete count was written. */
  private begin(edges: number): void {
    if (this.n !== undefined && edges < this.load) {
      this.n = this.reload; // the edge that loads is still to come, and finds this one
      return;
    }
    if (this.mode === 1 || this.mode === 5) return; // loaded by the next trigger
    if ((this.mode === 2 || this.mode === 3) && this.n !== undefined && this.held === undefined) {
      this.next = this.afterThisPeriod(edges);
      return;
    }
    this.n = this.reload;
    this.load = edges + 1;
    this.held = this.gate ? undefined : 0; // modes 0 and 4 load with the gate low, but do not count
  }

  /** Where a new count takes over: mode 2 at the end of the period, mode 3 at the end of the half-cycle. */
  private afterThisPeriod(edges: number): { n: number; at: number; load: number } {
    const n = this.n as number;
    const since = edges - this.load;
    const phase = since % n;
    const start = this.load + since - phase;
    const half = Math.ceil(n / 2);
    if (this.mode === 3 && phase < half) {
      return { n: this.reload, at: start + half, load: start + half - Math.ceil(this.reload / 2) };
    }
    return { n: this.reload, at: start + n, load: start + n };
  }

  setGate(high: boolean, edges: number): void {
    if (high === this.gate) return;
    this.advance(edges);
    this.gate = high;
    switch (this.mode) {
      case 1:
      case 5:
        if (high) this.restart(edges);
        break;
      case 2:
      case 3:
        // Low stops the count and forces OUT high; the rising edge starts the period again.
        if (this.n === undefined) break;
        if (high) this.restart(edges);
        else this.held = Math.max(0, edges - this.load);
        break;
      default: // modes 0 and 4 count only while the gate is high
        if (this.n === undefined) break;
        if (high) {
          if (edges >= this.load) this.load = edges - (this.held ?? 0); // else the count is still to be loaded
          this.held = undefined;
        } else this.held = Math.max(0, edges - this.load);
    }
  }

  private restart(edges: number): void {
    if (!this.written) return;
    this.n = this.reload;
    this.load = edges + 1;
    this.held = undefined;
    this.next = undefined;
  }

  /** Takes over a waiting count once its edge has come. */
  private advance(edges: number): void {
    if (!this.next || edges < this.next.at) return;
    this.n = this.next.n;
    this.load = this.next.load;
    this.next = undefined;
  }

  private elapsed(edges: number): number {
    return this.held ?? Math.max(0, edges - this.load);
  }

  /** The counting element at this edge, as a number. */
  private count(edges: number): number {
    this.advance(edges);
    if (this.n === undefined) return this.reload % this.modulus;
    const e = this.elapsed(edges);
    switch (this.mode) {
      case 2:
        return (this.n - (e % this.n)) % this.modulus;
      case 3: {
        const phase = e % this.n;
        const half = Math.ceil(this.n / 2);
        const even = this.n - (this.n % 2); // odd counts load one less; both halves count down by two
        return (even - 2 * (phase < half ? phase : phase - half)) % this.modulus;
      }
      default: {
        const rest = (this.n - e) % this.modulus; // runs on through zero
        return rest < 0 ? rest + this.modulus : rest;
      }
    }
  }

  out(edges: number): boolean {
    this.advance(edges);
    if (this.n === undefined) return this.mode !== 0;
    const e = this.elapsed(edges);
    const loaded = edges >= this.load;
    switch (this.mode) {
      case 0:
        return e >= this.n;
      case 1:
        return !loaded || e >= this.n;
      case 2:
        return this.held !== undefined || this.n === 1 || e % this.n !== this.n - 1;
      case 3:
        return this.held !== undefined || this.n === 1 || e % this.n < Math.ceil(this.n / 2);
      default:
        return e !== this.n || !loaded;
    }
  }

  /** The first edge after `edges` at which OUT rises, or undefined when it never will without another access. */
  nextRise(edges: number): number | undefined {
    this.advance(edges);
    if (this.n === undefined || this.held !== undefined) return undefined;
    const rise = this.riseOf(this.n, this.load, edges);
    if (this.next === undefined || rise === undefined || rise <= this.next.at) return rise;
    return this.riseOf(this.next.n, this.next.load, Math.max(edges, this.next.at - 1));
  }

  private riseOf(n: number, load: number, edges: number): number | undefined {
    switch (this.mode) {
      case 2:
      case 3: {
        if (n === 1) return undefined;
        const periods = edges < load + n ? 1 : Math.floor((edges - load) / n) + 1;
        return load + periods * n;
      }
      default: {
        const rise = load + n + (this.mode >= 4 ? 1 : 0);
        return rise > edges ? rise : undefined;
      }
    }
  }

  /** The next rise that the wire has not been told of. */
  pendingRise(): number | undefined {
    return this.nextRise(this.reported);
  }

  markReported(edges: number): void {
    this.reported = edges;
  }

  latchCount(edges: number): void {
    this.latchedCount ??= this.encode(this.count(edges)); // a second latch before the read is ignored
  }

  latchStatus(edges: number): void {
    if (this.latchedStatus !== undefined) return;
    const out = this.out(edges);
    const waiting = this.n === undefined || this.next !== undefined || edges < this.load;
    this.latchedStatus =
      (out ? 0x80 : 0) | (waiting ? 0x40 : 0) | (this.access << 4) | (this.mode << 1) | (this.bcd ? 1 : 0);
  }

  read(edges: number): number {
    if (this.latchedStatus !== undefined) {
      const status = this.latchedStatus;
      this.latchedStatus = undefined;
      return status;
    }
    const value = this.latchedCount ?? this.encode(this.count(edges));
    const high = this.access === ACCESS.HIGH || (this.access === ACCESS.BOTH && this.readHighNext);
    if (this.access === ACCESS.BOTH) this.readHighNext = !this.readHighNext;
    if (this.access !== ACCESS.BOTH || high) this.latchedCount = undefined;
    return high ? value >> 8 : value & 0xff;
  }

  /** What was written, as a count: BCD digits above 9 count as they weigh, 0 is the full modulus. */
  private decode(raw: number): number {
    const value = this.bcd ? (raw >> 12) * 1000 + ((raw >> 8) & 15) * 100 + ((raw >> 4) & 15) * 10 + (raw & 15) : raw;
    return value % this.modulus || this.modulus;
  }

  private encode(value: number): number {
    if (!this.bcd) return value;
    const digit = (weight: number) => Math.floor(value / weight) % 10;
    return (digit(1000) << 12) | (digit(100) << 8) | (digit(10) << 4) | digit(1);
  }
}

export class I8254 implements Device {
  readonly name = 'i8254';
  private readonly counters = [new Counter(), new Counter(), new Counter()] as const;
  private readonly clock: Clock;
  private readonly irq: IrqLine;
  private wire = true;

  constructor(clock: Clock, irq: IrqLine) {
    this.clock = clock;
    this.irq = irq;
    this.counters[2].gate = false; // port 0x61 comes up with its gate bit clear
  }

  save(): Saved {
    return { counters: this.counters.map((counter) => counter.save()), wire: this.wire };
  }

  restore(saved: Saved, where: string): void {
    const { counters, wire } = record({ counters: anything, wire: flag })(saved, where);
    if (!Array.isArray(counters) || counters.length !== 3) throw misfit(where, 'it has no three counters');
    for (const [i, counter] of this.counters.entries()) counter.restore(counters[i], `${where}.counters[${i}]`);
    this.wire = wire;
  }

  read(offset: number, _size: 1 | 2 | 4): number {
    if ((offset & 3) === 3) return 0xff; // the control word cannot be read; the bus is not driven
    this.tick(); // before a waiting count takes over, the rise that ended the old one must be told
    return this.counters[offset & 3].read(this.edges());
  }

  write(offset: number, _size: 1 | 2 | 4, value: number): void {
    const byte = value & 0xff;
    this.tick();
    const edges = this.edges();
    if ((offset & 3) !== 3) {
      this.counters[offset & 3].write(byte, edges);
      if ((offset & 3) === 0) this.follow(edges);
    } else if (byte >> 6 === 3) this.readBack(byte, edges);
    else {
      const counter = this.counters[byte >> 6];
      if ((byte & 0x30) === 0) counter.latchCount(edges);
      else {
        counter.control(byte, edges);
        if (byte >> 6 === 0) this.follow(edges);
      }
    }
  }

  /** OUT of counter 2, as port 0x61 shows it. */
  out2(): boolean {
    return this.counters[2].out(this.edges());
  }

  /** GATE of counter 2, as port 0x61 drives it. */
  setGate2(high: boolean): void {
    this.counters[2].setGate(high, this.edges());
  }

  /** When OUT of counter 0 rises next. */
  nextEvent(): number | undefined {
    const rise = this.counters[0].pendingRise();
    return rise === undefined ? undefined : pitTime(rise);
  }

  /** Reports rises of OUT of counter 0; any number of missed ones is one pulse, as a latch would keep it. */
  tick(): void {
    const edges = this.edges();
    const rise = this.counters[0].pendingRise();
    if (rise === undefined || rise > edges) return;
    this.counters[0].markReported(edges);
    this.setWire(false);
    this.setWire(true);
  }

  edges(): number {
    return pitEdges(this.clock());
  }

  private readBack(command: number, edges: number): void {
    for (const [index, counter] of this.counters.entries()) {
      if (!(command & (2 << index))) continue;
      if (!(command & 0x20)) counter.latchCount(edges);
      if (!(command & 0x10)) counter.latchStatus(edges);
    }
  }

  /** After a control word or a count: OUT may have changed without any clock edge. */
  private follow(edges: number): void {
    if (this.counters[0].mode === 0) this.setWire(this.counters[0].out(edges));
    else this.setWire(true);
  }

  private setWire(high: boolean): void {
    if (high === this.wire) return;
    this.wire = high;
    this.irq(high);
  }
}
