/** Clock: the time that Xen tells a guest, and the timers it sets for it.
 *
 * System time is virtual nanoseconds since the domain began, and so is the TSC; the line between them that vcpu_info
 * holds is therefore right for ever and written once in each place. Two timers raise VIRQ_TIMER: one-shot, and a
 * periodic one that ticks at 100 Hz until the guest stops it. The periodic one stands still while the vCPU is blocked:
 * Xen stops it whenever the vCPU leaves the processor. A third wakes a vCPU from SCHEDOP_poll.
 * Follows: xen/common/sched/core.c, xen/arch/x86/time.c; xen/include/public/xen.h (vcpu_time_info), vcpu.h.
 * May not: read the host's clock.   Next: personality/xen/traps.ts. */
import { flag, listOf, maybe, real, record, type Saved, whole, wide } from '../../base/saved.ts';
import {
  RUNSTATE,
  SharedInfo,
  SharedInfo32,
  VcpuInfo,
  VcpuRunstateInfo,
  VcpuRunstateInfo32,
  VcpuTimeInfo,
} from '../../layout/xen/shared-info.ts';
import { Refused } from './errno.ts';
import { VIRQ_TIMER } from './events.ts';
import { ASSIST, type GuestDomain } from './guest-domain.ts';

const MILLISECOND = 1_000_000;
/** The period of the timer that a PV vCPU starts with; the others have none until they ask. */
export const PERIODIC_AT_START = 10 * MILLISECOND;
/** A time from here on (52 days) never comes: virtual time must stay exact as a number. */
const NEVER = 2 ** 52;
/** XEN_RUNSTATE_UPDATE: the copy in the guest's memory is being written. */
const RUNSTATE_UPDATE = 1n << 63n;

export class Clock {
  readonly #domain: GuestDomain;
  #oneShot: number | undefined;
  #period: number | undefined;
  #lastTick = 0;
  /** What a blocked vCPU waits for beside its events. */
  #poll: { ports: ReadonlySet<number>; until: number | undefined } | undefined;
  #pollOver = false;
  #state: number = RUNSTATE.running;
  #stateSince = 0;
  readonly #times = [0, 0, 0, 0];
  #runstateArea: bigint | undefined;
  blocked = false;

  constructor(domain: GuestDomain, period?: number) {
    this.#domain = domain;
    this.#period = period;
  }

  get now(): number {
    return this.#domain.cpu.now;
  }

  save(): Saved {
    const poll = this.#poll && { ports: [...this.#poll.ports], until: this.#poll.until };
    return {
      oneShot: this.#oneShot,
      period: this.#period,
      lastTick: this.#lastTick,
      poll,
      pollOver: this.#pollOver,
      state: this.#state,
      stateSince: this.#stateSince,
      times: this.#times,
      runstateArea: this.#runstateArea,
      blocked: this.blocked,
    };
  }

  restore(saved: Saved, where: string): void {
    const time = maybe(real);
    const state = record({
      oneShot: time,
      period: time,
      lastTick: real,
      poll: maybe(record({ ports: listOf(whole()), until: time })),
      pollOver: flag,
      state: whole(3),
      stateSince: whole(),
      times: listOf(whole(), 4),
      runstateArea: maybe(wide),
      blocked: flag,
    })(saved, where);
    this.#oneShot = state.oneShot;
    this.#period = state.period;
    this.#lastTick = state.lastTick;
    this.#poll = state.poll && { ports: new Set(state.poll.ports), until: state.poll.until };
    this.#pollOver = state.pollOver;
    this.#state = state.state;
    this.#stateSince = state.stateSince;
    for (const [i, spent] of state.times.entries()) this.#times[i] = spent;
    this.#runstateArea = state.runstateArea;
    this.blocked = state.blocked;
  }

  // ---- What the guest reads

  /** vcpu_time_info at a vcpu_info: 1 GHz, so a tick is a nanosecond. Versions are even when nobody writes. */
  writeTime(vcpuInfo: number): void {
    const at = vcpuInfo + VcpuInfo.offsetOf('time');
    const bytes = this.#domain.machineBytes(at, VcpuTimeInfo.size);
    VcpuTimeInfo.write(bytes, 0, {
      version: 2,
      tsc_timestamp: 0,
      system_time: 0,
      tsc_to_system_mul: 0x8000_0000,
      tsc_shift: 1,
      flags: 0,
    });
  }

  writeWallClock(sharedInfo: number, secondsAtStart: number): void {
    const wc = { wc_version: 2, wc_sec: secondsAtStart % 2 ** 32, wc_nsec: 0 };
    const wc_sec_hi = Math.floor(secondsAtStart / 2 ** 32);
    const page = this.#domain.machineBytes(sharedInfo, 4096);
    if (this.#domain.events.width === 64) SharedInfo.write(page, 0, { ...wc, wc_sec_hi });
    else SharedInfo32.write(page, 0, { ...wc, arch: { wc_sec_hi } });
  }

  // ---- Timers

  /** Absolute; a time that has passed fires when Xen next looks, which is before the guest goes on. */
  setOneShot(at: number | undefined): void {
    this.#oneShot = at !== undefined && at < NEVER ? at : undefined;
  }

  setPeriod(period: number | undefined): void {
    this.#period = period;
    this.#lastTick = this.now;
  }

  nextEvent(): number | undefined {
    let next = this.#oneShot;
    const tick = this.#nextTick();
    if (tick !== undefined && (next === undefined || tick < next)) next = tick;
    const until = this.#poll?.until;
    if (until !== undefined && (next === undefined || until < next)) next = until;
    return next;
  }

  #nextTick(): number | undefined {
    if (this.#period === undefined || this.blocked || this.#domain.events.virqPort(VIRQ_TIMER) === undefined) return;
    return this.#lastTick + this.#period;
  }

  runEvents(): void {
    const { now } = this;
    if (this.#oneShot !== undefined && this.#oneShot <= now) {
      this.#oneShot = undefined;
      this.#domain.events.raiseVirq(VIRQ_TIMER);
    }
    const tick = this.#nextTick();
    if (tick !== undefined && tick <= now) {
      this.#lastTick = now; // ticks that were missed do not come later
      this.#domain.events.raiseVirq(VIRQ_TIMER);
    }
    const until = this.#poll?.until;
    if (until !== undefined && until <= now) this.#pollOver = true;
  }

  // ---- Blocking

  /** The vCPU leaves the processor until an event is to be delivered. */
  block(): void {
    this.blocked = true;
    this.#enter(RUNSTATE.blocked);
    this.#domain.cpu.halt();
  }

  /** The same, until one of the ports is pending or the time has come, too. */
  poll(ports: ReadonlySet<number>, until: number | undefined): void {
    this.#poll = { ports, until: until !== undefined && until < NEVER ? until : undefined };
    this.#pollOver = false;
    this.block();
  }

  portPending(port: number): void {
    if (!this.#poll) return;
    const { ports } = this.#poll;
    if (ports.size !== 1 || ports.has(port)) this.#pollOver = true; // of several, Xen does not look which
  }

  get pollOver(): boolean {
    return this.#pollOver;
  }

  wake(): void {
    if (!this.blocked) return;
    this.blocked = false;
    this.#poll = undefined;
    this.#pollOver = false;
    if (this.#period !== undefined && this.now >= this.#lastTick + this.#period) {
      this.#lastTick = this.now;
      this.#domain.events.raiseVirq(VIRQ_TIMER);
    }
    this.#enter(RUNSTATE.running);
    this.#copyRunstate();
  }

  // ---- Runstate

  #enter(state: number): void {
    const { now } = this;
    this.#times[this.#state] += now - this.#stateSince;
    this.#state = state;
    this.#stateSince = now;
  }

  /** As VCPUOP_get_runstate_info has it: with the time spent in the present state so far. */
  runstate(upToNow: boolean, updating = false): Uint8Array {
    const form = this.#domain.events.width === 64 ? VcpuRunstateInfo : VcpuRunstateInfo32;
    const bytes = new Uint8Array(form.size);
    const time = this.#times.map(BigInt);
    if (upToNow) time[this.#state] += BigInt(this.now - this.#stateSince);
    const state_entry_time = BigInt(this.#stateSince) | (updating ? RUNSTATE_UPDATE : 0n);
    form.write(bytes, 0, { state: this.#state, state_entry_time, time });
    return bytes;
  }

  /** Where the guest wants its copy, by the kernel's linear address. */
  registerRunstate(area: bigint): void {
    this.#runstateArea = area === 0n ? undefined : area;
    this.#copyRunstate();
  }

  /** A place that has gone since is the guest's own business: nothing is written. */
  #copyRunstate(): void {
    const area = this.#runstateArea;
    if (area === undefined) return;
    const domain = this.#domain;
    try {
      if (domain.hasAssist(ASSIST.RUNSTATE_UPDATE_FLAG)) domain.copyToGuest(area, this.runstate(false, true));
      domain.copyToGuest(area, this.runstate(false));
    } catch (e) {
      if (!(e instanceof Refused)) throw e;
    }
  }
}
