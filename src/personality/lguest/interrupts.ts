/** Virtual interrupts: 32 of them in lguest, one here, the clock's.
 *
 * A guest's interrupt flag is a word in its memory, which it writes without anybody noticing. So the host looks whenever
 * it has the guest in its hands, after a hypercall, a trap or an event: pending and enabled is delivered; pending and
 * disabled sets irq_pending, and the guest, when it enables interrupts again, sees that and calls (SEND_INTERRUPTS).
 * Some kernels forget to look when they only enable; on real machines the host's own timer soon brought the host back
 * for another try, so while something waits here, HOST_TICK does the same.
 * The looking is done at exact points of virtual time only, never from `pending`, which the engine asks at its own
 * convenience: the same instruction is interrupted in each of its tiers.
 * Follows: Linux drivers/lguest/interrupts_and_traps.c, core.c run_guest.   Next: personality/lguest/ports.ts. */
import { flag, integer, maybe, real, record, type Saved, word32 } from '../../base/saved.ts';
import type { PersonalityCpu, PersonalityWorld } from '../personality.ts';
import type { GuestGdt } from './gdt.ts';
import { GUEST_RING, IF, type SharedData } from './host.ts';
import { FIRST_EXTERNAL_VECTOR, type GuestIdt } from './idt.ts';
import { enterHandler, enterHandlerInsteadOfIret, type KernelStack } from './traps.ts';

const CLOCK_IRQ = 0;
/** Virtual ns between two tries to deliver what the guest keeps disabled: a host's timer at 1000 Hz. */
const HOST_TICK = 1_000_000;

export class VirtualInterrupts {
  readonly #cpu: PersonalityCpu;
  readonly #gdt: GuestGdt;
  readonly #idt: GuestIdt;
  readonly #told: PersonalityWorld['told'];
  readonly #rtcSeconds: number;
  readonly #stack: KernelStack;
  /** Set by LHCALL_LGUEST_INIT. */
  data: SharedData | undefined;
  /** EIP of the guest's one IRET, read once, at LHCALL_LGUEST_INIT. */
  noirqIret = 0;
  #waiting = 0;
  #halted = false;
  #deliverable = false;
  #clockAt: number | undefined;
  #retryAt: number | undefined;

  constructor(world: PersonalityWorld, gdt: GuestGdt, idt: GuestIdt, stack: KernelStack) {
    const { cpu, rtcSeconds } = world;
    this.#told = world.told;
    this.#cpu = cpu;
    this.#gdt = gdt;
    this.#idt = idt;
    this.#stack = stack;
    this.#rtcSeconds = rtcSeconds;
  }

  /** Whether `take` would do something: cheap, and changed only by the methods below. */
  get pending(): boolean {
    return this.#deliverable;
  }

  /** Where lguest_data lies is its owner's to save. */
  save(): Saved {
    return {
      noirqIret: this.noirqIret,
      waiting: this.#waiting,
      halted: this.#halted,
      deliverable: this.#deliverable,
      clockAt: this.#clockAt,
      retryAt: this.#retryAt,
    };
  }

  restore(saved: Saved, where: string): void {
    const time = maybe(real);
    const shape = {
      noirqIret: word32,
      waiting: integer,
      halted: flag,
      deliverable: flag,
      clockAt: time,
      retryAt: time,
    };
    const state = record(shape)(saved, where);
    this.noirqIret = state.noirqIret;
    this.#waiting = state.waiting | 0;
    this.#halted = state.halted;
    this.#deliverable = state.deliverable;
    this.#clockAt = state.clockAt;
    this.#retryAt = state.retryAt;
  }

  /** LHCALL_SET_CLOCKEVENT: the clock's interrupt in so many ns; 0 for never. */
  setClock(nanoseconds: number): void {
    this.#clockAt = nanoseconds === 0 ? undefined : this.#cpu.now + nanoseconds;
  }

  /** LHCALL_HALT. */
  halt(): void {
    this.#halted = true;
    this.#cpu.halt();
  }

  /** The host has the guest in its hands: is there something to deliver? */
  look(): void {
    this.#deliverable = false;
    const { data } = this;
    if (!data || this.#unblocked(data) === 0) return;
    if (this.#halted || data.get('irq_enabled') !== 0) this.#deliverable = true;
    else this.#mustWait(data);
  }

  /** try_deliver_interrupt(). */
  take(): void {
    this.#deliverable = false;
    const { data } = this;
    const waiting = data ? this.#unblocked(data) : 0;
    if (!data || waiting === 0) return;
    if (this.#halted) {
      data.set('irq_enabled', IF);
      this.#halted = false;
    } else if (data.get('irq_enabled') === 0) {
      this.#mustWait(data);
      return;
    }
    const irq = 31 - Math.clz32(waiting & -waiting);
    const gate = this.#idt.gate(FIRST_EXTERNAL_VECTOR + irq);
    if (gate) {
      this.#told?.({ kind: 'interrupt', number: FIRST_EXTERNAL_VECTOR + irq, values: [] });
      this.#waiting &= ~(1 << irq);
      const { state } = this.#cpu;
      const eip = Number(state.rip & 0xffff_ffffn);
      if (eip === this.noirqIret && state.cpl === GUEST_RING)
        enterHandlerInsteadOfIret(this.#cpu, this.#gdt, data, gate);
      // Never a direct one: external vectors all come by way of the host.
      else enterHandler(this.#cpu, this.#gdt, data, this.#stack, { gate, returnTo: eip });
    } else this.#retryAt = this.#cpu.now + HOST_TICK; // no handler (yet): it stays pending
    this.writeTime();
    if ((waiting & (waiting - 1)) === 0) data.set('irq_pending', 0);
  }

  nextEvent(): number | undefined {
    if (this.#clockAt === undefined || this.#retryAt === undefined) return this.#clockAt ?? this.#retryAt;
    return Math.min(this.#clockAt, this.#retryAt);
  }

  runEvents(): void {
    const { now } = this.#cpu;
    let due = false;
    if (this.#clockAt !== undefined && this.#clockAt <= now) {
      this.#clockAt = undefined;
      this.#waiting |= 1 << CLOCK_IRQ;
      due = true;
    }
    if (this.#retryAt !== undefined && this.#retryAt <= now) {
      this.#retryAt = undefined;
      due = true;
    }
    if (due) this.look();
  }

  /** The wall clock, which the guest sees at LGUEST_INIT and at each interrupt. */
  writeTime(): void {
    const { now } = this.#cpu;
    const seconds = Math.floor(now / 1e9);
    this.data?.setTime(this.#rtcSeconds + seconds, Math.floor(now - seconds * 1e9));
  }

  #unblocked(data: SharedData): number {
    return this.#waiting === 0 ? 0 : this.#waiting & ~data.get('blocked_interrupts');
  }

  #mustWait(data: SharedData): void {
    data.set('irq_pending', IF);
    this.#retryAt ??= this.#cpu.now + HOST_TICK;
  }
}
