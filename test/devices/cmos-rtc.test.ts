/** The RTC by its data sheet (Motorola MC146818A) and by Linux's driver (drivers/rtc/rtc-mc146818-lib.c). */
import { beforeEach, describe, expect, it } from 'vitest';
import { CmosRtc, DEFAULT_RTC_SECONDS } from '../../src/devices/cmos-rtc.ts';
import { UnbuiltDeviceFunction } from '../../src/devices/device.ts';
import { inb, ManualClock, outb, RecordedLine } from './machine-clock.ts';

const [A, B, C, D] = [0x0a, 0x0b, 0x0c, 0x0d];
const SECOND = 1_000_000_000;

let clock: ManualClock;
let line: RecordedLine;
let rtc: CmosRtc;
const make = (date?: string) => {
  clock = new ManualClock();
  line = new RecordedLine();
  const startSeconds = date === undefined ? undefined : Date.parse(date) / 1000;
  rtc = new CmosRtc({ clock: clock.read, irq: line.pull, startSeconds });
};
beforeEach(() => make());

const get = (register: number) => {
  outb(rtc, 0, register);
  return inb(rtc, 1);
};
const set = (register: number, value: number) => {
  outb(rtc, 0, register);
  outb(rtc, 1, value);
};
/** Century, year, month, day, weekday, hours, minutes, seconds as they stand in the registers. */
const shown = () => [0x32, 9, 8, 7, 6, 4, 2, 0].map(get);

describe('time', () => {
  const dates = [
    // date at 0, seconds later, register B, century year month day weekday hours minutes seconds
    ['2025-01-01T00:00:00Z', 0, 0x02, [0x20, 0x25, 0x01, 0x01, 4, 0x00, 0x00, 0x00]],
    ['2024-02-28T23:59:58Z', 2, 0x02, [0x20, 0x24, 0x02, 0x29, 5, 0x00, 0x00, 0x00]],
    ['1999-12-31T23:59:59Z', 1, 0x02, [0x20, 0x00, 0x01, 0x01, 7, 0x00, 0x00, 0x00]],
    ['2031-11-19T17:46:39Z', 0, 0x02, [0x20, 0x31, 0x11, 0x19, 4, 0x17, 0x46, 0x39]],
    ['2031-11-19T17:46:39Z', 0, 0x06, [20, 31, 11, 19, 4, 17, 46, 39]],
    ['2031-11-19T17:46:39Z', 0, 0x00, [0x20, 0x31, 0x11, 0x19, 4, 0x85, 0x46, 0x39]],
    ['2031-11-19T00:00:00Z', 0, 0x00, [0x20, 0x31, 0x11, 0x19, 4, 0x12, 0x00, 0x00]],
    ['2031-11-19T12:00:00Z', 0, 0x04, [20, 31, 11, 19, 4, 0x8c, 0, 0]],
    ['2025-01-01T00:00:00Z', 86_400 * 59, 0x06, [20, 25, 3, 1, 7, 0, 0, 0]],
  ] as const;
  it.each(dates)('from %s, %i s later, with register B = %i shows %j', (date, later, b, registers) => {
    make(date);
    set(B, b);
    clock.ns = later * SECOND;
    expect(shown()).toEqual(registers);
  });

  it('is 2025-01-01T00:00:00Z at the first instruction unless told otherwise', () => {
    expect(DEFAULT_RTC_SECONDS).toBe(Date.parse('2025-01-01T00:00:00Z') / 1000);
    expect(get(9)).toBe(0x25);
  });

  it('can be set as Linux sets it: SET, divider reset, registers, divider, SET off; the next second is half a second away', () => {
    clock.ns = 123_456_789;
    const b = get(B);
    const a = get(A);
    set(B, b | 0x80);
    set(A, a | 0x70);
    for (const [register, value] of [
      [9, 0x30],
      [8, 0x12],
      [7, 0x31],
      [4, 0x23],
      [2, 0x59],
      [0, 0x59],
    ] as const) {
      set(register, value);
    }
    clock.ns += 5 * SECOND; // it stands still meanwhile
    expect(get(0)).toBe(0x59);
    set(B, b);
    set(A, a & 0x7f);
    clock.ns += SECOND / 2 - 1;
    expect(shown().slice(1)).toEqual([0x30, 0x12, 0x31, expect.any(Number), 0x23, 0x59, 0x59]);
    clock.ns += 1;
    expect(shown()).toEqual([0x20, 0x31, 0x01, 0x01, 4, 0x00, 0x00, 0x00]);
  });

  it('can be set a register at a time while it runs', () => {
    clock.ns = 10 * SECOND;
    set(4, 0x13);
    expect(get(4)).toBe(0x13);
    clock.ns = 11 * SECOND;
    expect([get(4), get(2), get(0)]).toEqual([0x13, 0x00, 0x11]);
  });

  it('stands still while SET is on and goes on from what was set', () => {
    set(B, 0x82);
    set(0, 0x30);
    clock.ns = 7 * SECOND;
    expect(get(0)).toBe(0x30);
    set(B, 0x02);
    clock.ns = 9 * SECOND;
    expect(get(0)).toBe(0x32);
  });
});

describe('registers', () => {
  it('start as PC firmware leaves them, with a good battery', () => {
    expect([get(A), get(B), get(C), get(D)]).toEqual([0x26, 0x02, 0x00, 0x80]);
  });

  it('cannot write C, D or the UIP bit; keep CMOS bytes; do not show the index', () => {
    set(C, 0xff);
    set(D, 0x00);
    set(A, 0xa6);
    expect([get(C), get(D), get(A)]).toEqual([0, 0x80, 0x26]);
    for (const register of [0x0e, 0x0f, 0x10, 0x33, 0x7f]) set(register, register ^ 0xff);
    for (const register of [0x0e, 0x0f, 0x10, 0x33, 0x7f]) expect(get(register)).toBe(register ^ 0xff);
    expect(inb(rtc, 0)).toBe(0xff);
  });

  it('ignore bit 7 of the index, which masks NMI', () => {
    expect(get(0x80 | D)).toBe(0x80);
  });

  it('raise UIP 2228 us before the time changes and drop it with the change', () => {
    const uip = (ns: number) => {
      clock.ns = ns;
      return get(A) >> 7;
    };
    expect(uip(0)).toBe(0);
    expect(uip(SECOND - 2_228_001)).toBe(0);
    expect(uip(SECOND - 2_228_000)).toBe(1);
    expect(uip(SECOND - 1)).toBe(1);
    expect(get(0)).toBe(0x00);
    expect(uip(SECOND)).toBe(0);
    expect(get(0)).toBe(0x01);
    set(B, 0x82);
    expect(uip(2 * SECOND - 1)).toBe(0); // SET holds updates off
  });

  it.each([
    [A, 0x06, 'time base 0'],
    [A, 0x16, 'time base 1'],
    [B, 0x03, 'daylight saving'],
  ])('register %i = %i names what is not built (%s)', (register, value, name) => {
    outb(rtc, 0, register);
    expect(() => outb(rtc, 1, value)).toThrow(UnbuiltDeviceFunction);
    expect(() => outb(rtc, 1, value)).toThrow(name);
  });
});

describe('interrupts', () => {
  /** The next event is exactly then, and not a nanosecond earlier. */
  const expectInterruptAt = (ns: number, flags: number) => {
    expect(rtc.nextEvent()).toBe(ns);
    clock.ns = ns - 1;
    rtc.tick();
    expect(line.level).toBe(false);
    clock.ns = ns;
    rtc.tick();
    expect(line.level).toBe(true);
    expect(rtc.nextEvent()).toBeUndefined(); // nothing can change before C is read
    expect(get(C)).toBe(flags);
    expect(line.level).toBe(false);
  };

  const rates = [
    // rate, ticks of 32768 Hz (data sheet, table 5)
    [1, 128],
    [2, 256],
    [3, 4],
    [6, 32],
    [15, 16384],
  ] as const;
  it.each(rates)('periodic rate %i comes every %i ticks, exactly', (rate, ticks) => {
    set(A, 0x20 | rate);
    set(B, 0x42);
    for (let n = 1; n <= 40; n++) {
      const due = (BigInt(ticks * n) * 1_000_000_000n + 32_767n) / 32_768n;
      const second = (ticks * n) % 32_768 === 0 ? 0x10 : 0;
      expectInterruptAt(Number(due), 0xc0 | second | (rate === 15 && n % 2 === 0 ? 0x10 : 0));
    }
  });

  it('update-ended comes with each second', () => {
    set(B, 0x12);
    expectInterruptAt(SECOND, 0xd0);
    expectInterruptAt(2 * SECOND, 0xd0);
  });

  const alarms = [
    // hours, minutes, seconds of the alarm; first match after 10:20:30, as seconds from there
    [0x10, 0x20, 0x31, 1],
    [0x10, 0x20, 0x30, 86_400],
    [0x09, 0x00, 0x00, 22 * 3600 + 39 * 60 + 30],
    [0xff, 0x20, 0x00, 3600 - 30],
    [0xff, 0xff, 0x00, 30],
    [0xc0, 0xc0, 0xc0, 1],
    [0x11, 0xff, 0xff, 39 * 60 + 30],
  ] as const;
  it.each(alarms)('alarm registers %i, %i, %i ring %i s after 10:20:30', (hours, minutes, seconds, wait) => {
    make('2025-06-01T10:20:30Z');
    set(5, hours);
    set(3, minutes);
    set(1, seconds);
    set(B, 0x22);
    expectInterruptAt(wait * SECOND, 0xf0); // PF and UF are up as well
  });

  it('an alarm that no time of day matches never rings', () => {
    set(5, 0x25);
    set(B, 0x22);
    expect(rtc.nextEvent()).toBeUndefined();
    clock.ns = 2 * 86_400 * SECOND;
    rtc.tick();
    expect(get(C)).toBe(0x50); // PF and UF, which nobody enabled
  });

  it('flags come up without their enables, and enabling a flag that is up interrupts at once', () => {
    clock.ns = 3 * SECOND;
    rtc.tick();
    expect(line.level).toBe(false);
    set(B, 0x12);
    expect(line.level).toBe(true);
    set(B, 0x02);
    expect(line.level).toBe(false);
  });

  it('SET switches the update interrupt off', () => {
    set(B, 0x92);
    expect(get(B)).toBe(0x82);
    set(B, 0x02);
    expect(rtc.nextEvent()).toBeUndefined();
  });
});
