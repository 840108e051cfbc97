/** Xen PV: the hypervisor behind a paravirtualised 64-bit guest.
 *
 * Every exception, INT, SYSCALL and interrupt of the guest comes here before the CPU would look for a gate. What the
 * guest's kernel cannot do at CPL 3 is emulated or asked for by hypercall; what is the guest's own business is sent to
 * the handler that it registered. On each way back to the guest events are looked at, as in Xen's exit path.
 * Follows: xen/arch/x86/traps.c, x86_64/entry.S, domain.c (arch_set_info_guest); design notes in each file.
 * Not built, and named when asked for: 32-bit guests, FIFO events, grant copies and mappings.
 * May not: throw for anything that a guest can do.   Next: personality/xen/guest-domain.ts. */
import { anything, flag, record, type Saved } from '../../base/saved.ts';
import { XEN_SELECTOR } from '../../layout/xen/addresses.ts';
import { LEGACY_VCPUS, SharedInfo } from '../../layout/xen/shared-info.ts';
import { type MachineFrames, machineAddress, type Pfn } from '../../memory/machine-frames.ts';
import { PF_ERROR, RFLAGS, VECTOR } from '../../x86/constants.ts';
import type { Personality, PersonalityWorld, RegisteredTrap, Trap, TrapAnswer } from '../personality.ts';
import { ConsoleRing } from './console.ts';
import { Domain } from './domain.ts';
import { emulateForced, emulatePrivileged } from './emulate.ts';
import { seedGrants } from './grant.ts';
import { ASSIST, GUEST_DOMID } from './guest-domain.ts';
import { hypercallPage } from './hypercall-page.ts';
import { hypercall } from './hypercalls.ts';
import { StoreConnection } from './store/requests.ts';
import { StoreRing } from './store/ring.ts';
import { seededTree } from './store/seed.ts';
import { bounce, CS, enterFlat, injectException, injectUpcall, R11, RCX, softwareInterrupt } from './traps.ts';

/** What the domain builder has decided, as a plan tells it; frames are the guest's own numbers. */
export type XenPvSetup = {
  frames: MachineFrames;
  /** The root page table. */
  rootPfn: Pfn;
  /** Rings, and the event channels to what is behind them. */
  consolePfn: Pfn;
  storePfn: Pfn;
  ports: { store: number; console: number };
  /** Where the kernel's note wants the hypercall page. */
  hypercallPage?: Pfn | undefined;
};

/** Takes over a machine in whose memory the plan has been placed and whose CPU has the plan's registers. */
export function createXenPv(world: PersonalityWorld, setup: XenPvSetup): Personality {
  return new XenPv(world, setup);
}

class XenPv implements Personality {
  readonly #domain: Domain;
  /** Whether the guest is to be sent to its event callback, or woken, before its next instruction. */
  #due = false;

  constructor(world: PersonalityWorld, setup: XenPvSetup) {
    const { frames, ports } = setup;
    const machineOf = (frame: Pfn) => machineAddress(frames.mfnOf(frame));
    const domain = new Domain(world, frames, frames.mfnOf(setup.rootPfn));
    this.#domain = domain;
    this.#fillSharedInfo(world.rtcSeconds);
    domain.console = new ConsoleRing(domain, machineOf(setup.consolePfn), ports.console);
    const store = new StoreConnection(
      seededTree({
        domid: GUEST_DOMID,
        memory: frames.nrPages * 4,
        store: { port: ports.store, frame: frames.mfnOf(setup.storePfn) },
        console: { port: ports.console, frame: frames.mfnOf(setup.consolePfn) },
      }),
      GUEST_DOMID,
    );
    domain.store = new StoreRing(domain, machineOf(setup.storePfn), ports.store, store);
    for (const ring of [setup.consolePfn, setup.storePfn]) domain.memory.mapForBackend(frames.mfnOf(ring));
    const grants = machineAddress(frames.hypervisor.grants.first);
    seedGrants(domain, grants, { console: frames.mfnOf(setup.consolePfn), xenstore: frames.mfnOf(setup.storePfn) });
    // A note that points into the page tables gets no page: they have been checked.
    const page = setup.hypercallPage;
    if (page !== undefined && domain.memory.mayWriteFrame(frames.mfnOf(page))) {
      domain.setMachineBytes(machineOf(page), hypercallPage());
    }
  }

  /** Events masked, the clock running: what the guest finds there before it has asked for anything. */
  #fillSharedInfo(rtcSeconds: number): void {
    const { events, clock } = this.#domain;
    const page = this.#domain.machineBytes(events.sharedInfo, 4096);
    page.fill(0);
    SharedInfo.write(page, 0, { vcpu_info: Array.from({ length: LEGACY_VCPUS }, () => ({ evtchn_upcall_mask: 1 })) });
    clock.writeTime(events.sharedInfo + SharedInfo.offsetOf('vcpu_info'));
    clock.writeWallClock(events.sharedInfo, rtcSeconds);
  }

  save(): Saved {
    return { domain: this.#domain.save(), due: this.#due };
  }

  restore(saved: Saved, where: string): void {
    const { domain, due } = record({ domain: anything, due: flag })(saved, where);
    this.#domain.restore(domain, `${where}.domain`);
    this.#due = due;
  }

  traps(): ReadonlyMap<number, RegisteredTrap> {
    const { trapTable, eventCallback, syscallCallback } = this.#domain;
    const traps = new Map<number, RegisteredTrap>();
    const add = (number: number, address: bigint, dpl: number, kind: string): void => {
      if (address !== 0n) traps.set(number, { address, dpl, kind });
    };
    for (const [vector, { address, dpl, masksEvents }] of trapTable.entries())
      add(vector, address, dpl, masksEvents ? 'trap that masks events' : 'trap');
    // Behind the vectors: what has no vector.
    add(256, eventCallback.address, 0, 'event callback');
    add(257, syscallCallback.address, 0, 'syscall callback');
    return traps;
  }

  get missing(): readonly string[] {
    return this.#domain.missing;
  }

  exception(trap: Trap): TrapAnswer {
    return this.#leave(this.#exception(trap));
  }

  #exception(trap: Trap): TrapAnswer {
    const domain = this.#domain;
    if (trap.vector === VECTOR.GP && trap.errorCode === 0) {
      const answer = emulatePrivileged(domain);
      if (answer) return answer;
    }
    if (trap.vector === VECTOR.UD && emulateForced(domain)) return 'completed';
    if (trap.vector === VECTOR.PF && trap.cr2 !== undefined) {
      const ldt = domain.memory.descriptors.ldtFault(trap.cr2);
      if (ldt === 'mapped') return 'entered'; // it may look again
      if (ldt !== undefined) injectException(domain, { ...trap, cr2: ldt });
      else if (this.#isTableStore(trap) && domain.memory.stores.emulate(domain.state, trap.cr2)) return 'completed';
      if (ldt !== undefined) return 'entered';
    }
    injectException(domain, trap);
    return 'entered';
  }

  /** A kernel's write to something that is mapped read-only, with the assist for page tables on. */
  #isTableStore({ errorCode = 0 }: Trap): boolean {
    const domain = this.#domain;
    const wanted = PF_ERROR.P | PF_ERROR.W;
    const isWrite = (errorCode & (wanted | PF_ERROR.RSVD)) === wanted;
    return isWrite && domain.kernelMode && domain.hasAssist(ASSIST.WRITABLE_PAGETABLES);
  }

  softwareInterrupt(vector: number, nextRip: bigint): TrapAnswer {
    return this.#leave(softwareInterrupt(this.#domain, vector, nextRip));
  }

  /** A hypercall from the guest's kernel, a system call from its programs. */
  systemCall(nextRip: bigint): TrapAnswer {
    const domain = this.#domain;
    if (domain.kernelMode) {
      hypercall(domain, nextRip);
      return this.#leave('completed');
    }
    return this.#leave(this.#userSystemCall(nextRip));
  }

  #userSystemCall(nextRip: bigint): TrapAnswer {
    const domain = this.#domain;
    const { state } = domain;
    const from64 = state.is64;
    const callback = from64 ? domain.syscallCallback : domain.syscall32Callback;
    if (callback.address === 0n) {
      injectException(domain, { vector: VECTOR.UD });
      return 'entered';
    }
    state.rip = nextRip;
    state.setGpr(RCX, nextRip);
    state.setGpr(R11, BigInt(state.rflags >>> 0));
    enterFlat(domain);
    if (!from64) state.setSegment(CS, { ...state.segment(CS), selector: XEN_SELECTOR.USER_CS32 }); // for the frame
    bounce(domain, { ...callback, because: 'it made a system call' });
    // The interface promises DF clear. (Released Xen masks the flags with a register that it has used for the stack
    // address by then, so more of them may go; nobody can rely on that.)
    state.rflags &= ~RFLAGS.DF;
    state.setGpr(R11, BigInt(state.rflags >>> 0));
    return 'completed';
  }

  interruptPending(): boolean {
    return this.#due;
  }

  interrupt(): void {
    const domain = this.#domain;
    domain.clock.wake();
    if (domain.events.upcallDue) injectUpcall(domain);
    this.#leave('entered');
  }

  nextEvent(): number | undefined {
    return this.#domain.clock.nextEvent();
  }

  runEvents(): void {
    this.#domain.clock.runEvents();
    this.#look();
  }

  portRead(_port: number, size: 1 | 2 | 4): number {
    return size === 4 ? 0xffff_ffff : 2 ** (8 * size) - 1;
  }

  portWrite(): void {}

  receive(bytes: Uint8Array): void {
    this.#domain.console.receive(bytes);
    this.#look();
  }

  /** Back to the guest: timers that are due, then events. */
  #leave(answer: TrapAnswer): TrapAnswer {
    const { clock } = this.#domain;
    const next = clock.nextEvent();
    if (next !== undefined && next <= clock.now) clock.runEvents();
    this.#look();
    return answer;
  }

  #look(): void {
    const { events, clock } = this.#domain;
    this.#due = events.upcallDue || clock.pollOver;
  }
}
