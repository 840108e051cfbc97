/** Xen PVH: the hypervisor beside a guest that owns its CPU.
 *
 * Nothing of the guest's comes by here but what it sends: VMMCALL and VMCALL, the register of the hypercall page, and
 * accesses to pages of Xen's outside RAM. The other way goes one interrupt: as long as the upcall flag is up, the callback
 * vector asks for the CPU before any device does, and RFLAGS.IF decides. The board stays as it is on bare metal; a real
 * PVH guest would find no serial port and no timer chip there, and has a local APIC, which this one has not.
 * Follows: xen/arch/x86/hvm/{hvm,irq}.c (hvm_vcpu_has_pending_irq, hvm_assert_evtchn_irq), traps.c (hypervisor MSRs).
 * Not built, and named when asked for: callbacks by a wire, FIFO events, grant copies and mappings.
 * May not: throw for anything that a guest can do.   Next: personality/xen/hvm/address-space.ts. */
import { anything, flag, record, type Saved } from '../../../base/saved.ts';
import { XEN_HYPERCALL_MSR } from '../../../layout/xen/hvm.ts';
import type { HvmPersonality, PersonalityWorld } from '../../personality.ts';
import { HvmDomain, type MemoryMapEntry } from './domain.ts';
import { hvmHypercallPage } from './hypercall-page.ts';
import { hvmHypercall } from './hypercalls.ts';

export type XenHvmSetup = { memorySize: number; memoryMap: readonly MemoryMapEntry[] };

export function createXenHvm(world: PersonalityWorld, setup: XenHvmSetup): HvmPersonality {
  return new XenHvm(world, setup);
}

class XenHvm implements HvmPersonality {
  readonly #domain: HvmDomain;
  /** The upcall flag was up when Xen last looked. What the guest itself writes there asks for nothing. */
  #due = false;

  constructor(world: PersonalityWorld, { memorySize, memoryMap }: XenHvmSetup) {
    this.#domain = new HvmDomain(world, memorySize, memoryMap);
  }

  get missing(): readonly string[] {
    return this.#domain.missing;
  }

  save(): Saved {
    return { domain: this.#domain.save(), due: this.#due };
  }

  restore(saved: Saved, where: string): void {
    const { domain, due } = record({ domain: anything, due: flag })(saved, where);
    this.#domain.restore(domain, `${where}.domain`);
    this.#due = due;
  }

  hypercall(): boolean {
    const again = hvmHypercall(this.#domain);
    this.#runDue();
    return again;
  }

  /** A timer whose time has come fires before the guest goes on. */
  #runDue(): void {
    const { clock } = this.#domain;
    const next = clock.nextEvent();
    if (next !== undefined && next <= clock.now) clock.runEvents();
    this.#look();
  }

  readMsr(number: number): bigint | undefined {
    return number === XEN_HYPERCALL_MSR ? 0n : undefined;
  }

  /** The page's address; the low bits would number further pages, and there are none. */
  writeMsr(number: number, value: bigint): boolean {
    if (number !== XEN_HYPERCALL_MSR) return false;
    const domain = this.#domain;
    const at = Number(value);
    if ((value & 0xfffn) !== 0n || at >= domain.space.ramFrames * 4096) return false;
    domain.latchWidth();
    domain.setMachineBytes(at, hvmHypercallPage());
    return true;
  }

  interruptPending(): boolean {
    const domain = this.#domain;
    if (domain.upcallVector !== undefined) return domain.upcallWaits;
    if (!this.#due || domain.callbackVector === undefined) return false;
    this.#due = domain.events.isUpcallPending;
    return this.#due;
  }

  acknowledge(): number {
    const domain = this.#domain;
    domain.clock.wake();
    this.#due = false;
    if (domain.upcallVector === undefined) return domain.callbackVector as number;
    domain.upcallWaits = false;
    return domain.upcallVector;
  }

  deviceInterrupt(): void {
    this.wake();
  }

  blockedCall(): 'waits' | 'over' | undefined {
    const { clock, events } = this.#domain;
    if (!clock.blocked) return undefined;
    return clock.pollOver || events.isUpcallPending ? 'over' : 'waits';
  }

  wake(): void {
    this.#domain.clock.wake();
    this.#look();
  }

  nextEvent(): number | undefined {
    return this.#domain.clock.nextEvent();
  }

  runEvents(): void {
    this.#domain.clock.runEvents();
    this.#look();
  }

  physicalRead(at: number, size: 1 | 2 | 4): number | undefined {
    return this.#domain.space.read(at, size);
  }

  physicalWrite(at: number, size: 1 | 2 | 4, value: number): boolean {
    return this.#domain.space.store(at, size, value);
  }

  receive(bytes: Uint8Array): void {
    this.#domain.console.receive(bytes);
    this.#look();
  }

  #look(): void {
    this.#due = this.#domain.events.isUpcallPending;
  }
}
