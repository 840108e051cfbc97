/** The real-time clock and its CMOS memory: an MC146818 behind an index port and a data port.
 *
 * The date is an option and a fixed one by default; from there it follows virtual time, so every run sees the same
 * clock. Registers 0-9 show it as BCD or binary, 12 or 24 hours; register 0x32 is the century, as PC firmware keeps it.
 * Periodic, alarm and update interrupts share one wire that stays high until register C is read.
 * Follows: Motorola MC146818A data sheet, "Address map" and "Registers"; the PC/AT's use of ports 0x70 and 0x71.
 * Times: UIP rises 2228 us before the time changes (244 us of warning, 1984 us of update at 32.768 kHz); the new time,
 * UF and AF all appear at its end.
 * May not: read the host's clock.   Next: devices/i8042.ts. */
import { byte, bytes, flag, integer, keepFields, putFields, real, type Saved, whole } from '../base/saved.ts';
import { type Clock, type Device, type IrqLine, UnbuiltDeviceFunction } from './device.ts';

const SECOND = 1_000_000_000;
const UPDATE_WARNING = 2_228_000; // ns

const REG = {
  SECONDS: 0, SECONDS_ALARM: 1, MINUTES: 2, MINUTES_ALARM: 3, HOURS: 4, HOURS_ALARM: 5,
  WEEKDAY: 6, DAY: 7, MONTH: 8, YEAR: 9, A: 10, B: 11, C: 12, D: 13, CENTURY: 0x32,
} as const; // biome-ignore format: the address map
const A = { UIP: 0x80, DIVIDER: 0x70, RATE: 0x0f } as const;
const B = { SET: 0x80, PIE: 0x40, AIE: 0x20, UIE: 0x10, SQWE: 0x08, BINARY: 0x04, HOURS_24: 0x02, DSE: 0x01 } as const;
const C = { IRQF: 0x80, PF: 0x40, AF: 0x20, UF: 0x10 } as const;
const DIVIDER_32768_HZ = 0x20;
const DIVIDER_RESET = 0x60; // 11x holds the divider chain in reset
const ALARM_ANY = 0xc0; // the two top bits set: "don't care"

/** 2025-01-01T00:00:00Z in seconds since 1970. */
export const DEFAULT_RTC_SECONDS = 1_735_689_600;

const FIELDS = {
  index: whole(127), cmos: bytes(128), level: flag, seconds: integer, origin: real, updatesSeen: integer, ticksSeen: integer,
  flags: byte,
}; // biome-ignore format: a list

export type CmosRtcOptions = {
  clock: Clock;
  irq: IrqLine;
  /** The date at virtual time 0, in seconds since 1970-01-01T00:00:00Z. */
  startSeconds?: number;
};

export class CmosRtc implements Device {
  readonly name = 'cmos rtc';
  private readonly clock: Clock;
  private readonly irq: IrqLine;
  private index = 0;
  private readonly cmos = new Uint8Array(128);
  private level = false;

  /** Seconds since 1970 at the virtual time `origin`; the divider chain's phase starts there too. */
  private seconds: number;
  private origin = 0;
  /** Updates and periodic ticks since `origin` that have set their flags. */
  private updatesSeen = 0;
  private ticksSeen = 0;
  private flags = 0; // register C without IRQF

  constructor(options: CmosRtcOptions) {
    this.clock = options.clock;
    this.irq = options.irq;
    this.seconds = Math.floor(options.startSeconds ?? DEFAULT_RTC_SECONDS);
    this.cmos[REG.A] = DIVIDER_32768_HZ | 6; // 1024 Hz, as PC firmware leaves it
    this.cmos[REG.B] = B.HOURS_24;
    this.cmos[REG.D] = 0x80; // VRT: the battery is fine
    this.showTime();
  }

  save(): Saved {
    return keepFields(this, FIELDS);
  }

  restore(saved: Saved, where: string): void {
    putFields(this, FIELDS, saved, where);
  }

  read(offset: number, _size: 1 | 2 | 4): number {
    if ((offset & 1) === 0) return 0xff; // the index port is write-only
    this.tick();
    switch (this.index) {
      case REG.A:
        return this.cmos[REG.A] | (this.updateInProgress() ? A.UIP : 0);
      case REG.C:
        return this.readFlags();
      default:
        if (this.isTime(this.index)) this.showTime();
        return this.cmos[this.index];
    }
  }

  write(offset: number, _size: 1 | 2 | 4, value: number): void {
    const byte = value & 0xff;
    if ((offset & 1) === 0) {
      this.index = byte & 0x7f; // bit 7 masks NMI; nothing here sends one
      return;
    }
    this.tick();
    switch (this.index) {
      case REG.A:
        this.writeA(byte & 0x7f);
        break;
      case REG.B:
        this.writeB(byte);
        break;
      case REG.C:
      case REG.D:
        break; // read-only
      default:
        this.writeRegister(this.index, byte);
    }
    this.update();
  }

  /** Nothing to wait for while the wire is high already: only a read of register C changes that. */
  nextEvent(): number | undefined {
    if (this.level) return undefined;
    const enabled = this.cmos[REG.B];
    let next = Number.POSITIVE_INFINITY;
    if (enabled & B.PIE && this.period() > 0) {
      next = this.tickTime((Math.floor(this.ticksSeen / this.period()) + 1) * this.period());
    }
    if (this.updating()) {
      if (enabled & B.UIE) next = Math.min(next, this.origin + (this.updatesSeen + 1) * SECOND);
      if (enabled & B.AIE) {
        const wait = this.secondsToAlarm(this.seconds + this.updatesSeen);
        if (wait !== undefined) next = Math.min(next, this.origin + (this.updatesSeen + wait) * SECOND);
      }
    }
    return Number.isFinite(next) ? next : undefined;
  }

  /** Sets the flags that time has earned since the last look. */
  tick(): void {
    if (!this.dividing()) return;
    const now = this.clock() - this.origin;
    const ticks = Math.floor(now / SECOND) * 32768 + Math.floor(((now % SECOND) * 64) / 1_953_125);
    const period = this.period();
    if (period > 0 && Math.floor(ticks / period) > Math.floor(this.ticksSeen / period)) this.flags |= C.PF;
    this.ticksSeen = ticks;
    const updates = Math.floor(now / SECOND);
    if (updates > this.updatesSeen) {
      if (this.updating()) {
        this.flags |= C.UF;
        const wait = this.secondsToAlarm(this.seconds + this.updatesSeen);
        if (wait !== undefined && this.updatesSeen + wait <= updates) this.flags |= C.AF;
      }
      this.updatesSeen = updates;
    }
    this.update();
  }

  private readFlags(): number {
    const value = this.flags | (this.requesting() ? C.IRQF : 0);
    this.flags = 0;
    this.update();
    return value;
  }

  private writeA(next: number): void {
    const divider = next & A.DIVIDER;
    const reset = (divider & DIVIDER_RESET) === DIVIDER_RESET;
    if (!reset && divider !== DIVIDER_32768_HZ) {
      throw new UnbuiltDeviceFunction(
        this.name,
        `time base ${divider >> 4} in register A (only 2, 32.768 kHz, is wired)`,
      );
    }
    const wasReset = !this.dividing();
    if (reset && !wasReset) this.showTime(); // the divider stops: what the clock shows stays in the registers
    this.cmos[REG.A] = next;
    // The first update comes half a second after the divider chain is let go.
    if (wasReset && !reset) this.thaw(this.clock() - SECOND / 2);
  }

  private writeB(next: number): void {
    if (next & B.DSE) throw new UnbuiltDeviceFunction(this.name, 'daylight saving (register B bit 0)');
    const stopping = next & ~this.cmos[REG.B] & B.SET;
    const starting = ~next & this.cmos[REG.B] & B.SET;
    if (stopping) this.showTime();
    const format = (next ^ this.cmos[REG.B]) & (B.BINARY | B.HOURS_24);
    // SET clears UIE (data sheet, register B). A change of format does not convert what is stored, so while the clock
    // stands still its registers keep their bytes; while it runs they are shown in the new format.
    this.cmos[REG.B] = next & B.SET ? next & ~B.UIE : next;
    if (starting && this.dividing()) {
      this.seconds = this.storedSeconds() - this.updatesSeen;
    }
    if (format && this.updating()) this.showTime();
  }

  private writeRegister(index: number, byte: number): void {
    if (!this.isTime(index)) {
      this.cmos[index] = byte;
      return;
    }
    this.showTime();
    this.cmos[index] = byte;
    if (this.updating()) this.seconds = this.storedSeconds() - this.updatesSeen;
  }

  /** The divider starts: the registers hold the time, and `origin` is when its second began. */
  private thaw(origin: number): void {
    this.seconds = this.storedSeconds();
    this.origin = origin;
    this.updatesSeen = 0;
    this.ticksSeen = Math.floor(((this.clock() - origin) * 64) / 1_953_125);
  }

  private isTime(index: number): boolean {
    return (index <= REG.YEAR && (index >= REG.WEEKDAY || index % 2 === 0)) || index === REG.CENTURY;
  }

  private dividing(): boolean {
    return (this.cmos[REG.A] & A.DIVIDER) === DIVIDER_32768_HZ;
  }

  /** Whether the time moves on: neither set by hand (SET) nor held by the divider. */
  private updating(): boolean {
    return this.dividing() && !(this.cmos[REG.B] & B.SET);
  }

  private updateInProgress(): boolean {
    return this.updating() && (this.clock() - this.origin) % SECOND >= SECOND - UPDATE_WARNING;
  }

  /** Periodic interrupt period in ticks of 32768 Hz, 0 for none. Rates 1 and 2 repeat 8 and 9. */
  private period(): number {
    const rate = this.cmos[REG.A] & A.RATE;
    if (rate === 0) return 0;
    return 1 << (rate < 3 ? rate + 6 : rate - 1);
  }

  /** The first nanosecond at which `ticks` ticks of 32768 Hz have passed (one tick is 1953125/64 ns). */
  private tickTime(ticks: number): number {
    const rest = ticks % 32768;
    return this.origin + ((ticks - rest) / 32768) * SECOND + Math.ceil((rest * 1_953_125) / 64);
  }

  /** Writes the present time into registers 0-9 and the century, unless they are being set. */
  private showTime(): void {
    if (!this.updating()) return;
    const date = new Date((this.seconds + this.updatesSeen) * 1000);
    const year = date.getUTCFullYear();
    this.cmos[REG.SECONDS] = this.encode(date.getUTCSeconds());
    this.cmos[REG.MINUTES] = this.encode(date.getUTCMinutes());
    this.cmos[REG.HOURS] = this.encodeHours(date.getUTCHours());
    this.cmos[REG.WEEKDAY] = this.encode(date.getUTCDay() + 1);
    this.cmos[REG.DAY] = this.encode(date.getUTCDate());
    this.cmos[REG.MONTH] = this.encode(date.getUTCMonth() + 1);
    this.cmos[REG.YEAR] = this.encode(year % 100);
    this.cmos[REG.CENTURY] = this.encode(Math.floor(year / 100) % 100);
  }

  /** The time that the registers hold. Values out of range carry over, as 32 December is 1 January. */
  private storedSeconds(): number {
    const value = (index: number) => this.decode(this.cmos[index]);
    const year = value(REG.CENTURY) * 100 + value(REG.YEAR);
    const date = new Date(0);
    date.setUTCFullYear(year, value(REG.MONTH) - 1, value(REG.DAY));
    const day = date.getTime() / 1000;
    return day + this.decodeHours(this.cmos[REG.HOURS]) * 3600 + value(REG.MINUTES) * 60 + value(REG.SECONDS);
  }

  /** Seconds from `from` (since 1970) to the next update that matches the alarm registers; undefined if none ever does. */
  private secondsToAlarm(from: number): number | undefined {
    const alarm = (index: number, hours = false): number | undefined => {
      const byte = this.cmos[index];
      if ((byte & ALARM_ANY) === ALARM_ANY) return undefined;
      return hours ? this.decodeHours(byte) : this.decode(byte);
    };
    const second = alarm(REG.SECONDS_ALARM);
    const minute = alarm(REG.MINUTES_ALARM);
    const hour = alarm(REG.HOURS_ALARM, true);
    const start = from + 1;
    const dayStart = Math.floor(start / 86_400) * 86_400;
    // The first candidate of each unit begins where time stands; later ones begin at their start.
    for (let h = Math.floor((start - dayStart) / 3600); h < 48; h++) {
      if (hour !== undefined && h % 24 !== hour) continue;
      const hourStart = dayStart + h * 3600;
      for (let m = Math.max(0, Math.floor((start - hourStart) / 60)); m < 60; m++) {
        if (minute !== undefined && m !== minute) continue;
        const minuteStart = hourStart + m * 60;
        const s = Math.max(0, start - minuteStart);
        if (second === undefined) return minuteStart + s - from;
        if (second >= s && second < 60) return minuteStart + second - from;
      }
    }
    return undefined;
  }

  private encode(value: number): number {
    return this.cmos[REG.B] & B.BINARY ? value : (Math.floor(value / 10) << 4) | (value % 10);
  }

  private decode(byte: number): number {
    return this.cmos[REG.B] & B.BINARY ? byte : (byte >> 4) * 10 + (byte & 15);
  }

  /** In 12-hour form the hours are 1-12 and bit 7 is PM. */
  private encodeHours(hours: number): number {
    if (this.cmos[REG.B] & B.HOURS_24) return this.encode(hours);
    return this.encode(hours % 12 || 12) | (hours >= 12 ? 0x80 : 0);
  }

  private decodeHours(byte: number): number {
    if (this.cmos[REG.B] & B.HOURS_24) return this.decode(byte);
    return (this.decode(byte & 0x7f) % 12) + (byte & 0x80 ? 12 : 0);
  }

  private requesting(): boolean {
    return (this.flags & this.cmos[REG.B] & (C.PF | C.AF | C.UF)) !== 0; // the enables have the flags' bit positions
  }

  private update(): void {
    const level = this.requesting();
    if (level === this.level) return;
    this.level = level;
    this.irq(level);
  }
}
