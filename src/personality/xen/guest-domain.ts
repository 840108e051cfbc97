/** GuestDomain: what PV and PVH guests have in common, as the hypervisor knows it.
 *
 * Both have event channels, a clock, a console ring and a store ring; both make calls whose arguments lie in their own
 * memory. How that memory is reached is what they differ in: a PV guest's frames are the machine's, a PVH guest has a
 * physical address space of its own. Calls that both make (events, time, scheduling, versions) take one of these.
 * "Machine" addresses are those of the engine's physical memory, whoever counts them.
 * Follows: xen/include/xen/sched.h (struct domain).
 * May not: know which kind it is.   Next: personality/xen/domain.ts. */
import {
  anything,
  flag,
  keepFields,
  listOf,
  putFields,
  record,
  type Saved,
  text,
  whole,
  wide,
} from '../../base/saved.ts';
import { DOMID_SELF } from '../../layout/xen/event-arguments.ts';
import { GRANT_FRAMES } from '../../memory/machine-frames.ts';
import type { PersonalityCpu, PersonalityRegisters, PersonalityWorld } from '../personality.ts';
import type { ConsoleRing } from './console.ts';
import type { EventChannels } from './events.ts';
import type { HypercallArgs } from './hypercall-row.ts';
import type { StoreRing } from './store/ring.ts';
import type { Clock } from './time.ts';

/** The one guest's number: 0 would be the privileged domain's. */
export const GUEST_DOMID = 1;
/** Whether a domain number in a call's argument means the guest. */
export const isSelf = (domid: number): boolean => domid === DOMID_SELF || domid === GUEST_DOMID;

/** vm_assist types (xen/include/public/xen.h). */
export const ASSIST = {
  SEGMENTS_4GB: 0,
  SEGMENTS_4GB_NOTIFY: 1,
  WRITABLE_PAGETABLES: 2,
  PAE_EXTENDED_CR3: 3,
  ARCHITECTURAL_IOPL: 4,
  RUNSTATE_UPDATE_FLAG: 5,
  M2P_STRICT: 32,
} as const;

const MOST_MISSING = 256;
/** State of both kinds. Not among it: what lasts no longer than a hypercall. */
const FIELDS = { assists: wide, grantFrames: whole(GRANT_FRAMES), caller32: flag, ended: flag };

export abstract class GuestDomain {
  readonly world: PersonalityWorld;
  readonly cpu: PersonalityCpu;
  readonly state: PersonalityRegisters;
  /** Names of what the guest asked for and is not built, each once. */
  readonly missing: string[] = [];
  abstract readonly events: EventChannels;
  abstract readonly clock: Clock;
  console!: ConsoleRing; // both are there before the first instruction
  store!: StoreRing;
  /** Bits by vm_assist type. */
  assists = 0n;
  /** Set by a handler that has done a part of a long call: the arguments for what is left. The guest executes its
   * instruction again with them, as Xen's continuations do. */
  again: HypercallArgs | undefined;
  inMulticall = false;
  /** Frames of the grant table that the guest has asked for. */
  grantFrames = 1;
  /** Structs in arguments are in the form of 32-bit guests. */
  caller32 = false;
  /** Set when the run has ended: what follows in the same hypercall changes nothing more. */
  ended = false;

  constructor(world: PersonalityWorld) {
    this.world = world;
    this.cpu = world.cpu;
    this.state = world.cpu.state;
  }

  save(): Saved {
    return {
      missing: this.missing,
      fields: keepFields(this, FIELDS),
      own: this.saveOwn(),
      events: this.events.save(),
      clock: this.clock.save(),
      console: this.console.save(),
      store: this.store.save(),
    };
  }

  restore(saved: Saved, where: string): void {
    const shape = { own: anything, events: anything, clock: anything, console: anything, store: anything };
    const state = record({ missing: listOf(text), fields: anything, ...shape })(saved, where);
    this.missing.splice(0, this.missing.length, ...state.missing);
    putFields(this, FIELDS, state.fields, where);
    this.restoreOwn(state.own, where); // before the channels, whose pages must be somewhere
    this.events.restore(state.events, `${where}.events`);
    this.clock.restore(state.clock, `${where}.clock`);
    this.console.restore(state.console, `${where}.console`);
    this.store.restore(state.store, `${where}.store`);
  }

  /** What only its kind has. */
  protected abstract saveOwn(): Saved;
  protected abstract restoreOwn(saved: Saved, where: string): void;

  hasAssist(type: number): boolean {
    return ((this.assists >> BigInt(type)) & 1n) !== 0n;
  }

  /** Xen's domain_crash: the guest broke a rule. `why` is one sentence about what it did. */
  crash(why: string): void {
    if (this.ended) return;
    this.ended = true;
    this.console.drain(); // its last words
    this.world.end({ kind: 'killed', why });
  }

  /** Names something that is not built, once. */
  notBuilt(name: string): void {
    if (this.missing.length < MOST_MISSING && !this.missing.includes(name)) this.missing.push(name);
  }

  /** What is behind its rings gets its turn. */
  letBackendsRun(): void {
    this.console.drain();
    this.store.serve();
  }

  /** Its XENFEAT_* bits. */
  abstract readonly features: number;
  /** Where Xen's own addresses begin, for a guest that shares its address space with Xen. */
  abstract readonly virtStart: bigint;

  /** Frames that its grant table can have, and each one's number as the guest knows it (-1: it has no place yet). */
  abstract readonly mostGrantFrames: number;
  abstract grantFrame(index: number): number;

  /** vcpu_info is to lie in this frame from now on: its machine address, or -1 when the guest may not have it there. */
  abstract lendFrame(frame: bigint): number;
  /** Whether the guest may have Xen read or write there at all. */
  abstract isGuestRange(address: bigint, length: number): boolean;

  // ---- Machine memory, by byte address. The caller has made sure that it is there.

  /** Whether there are so many bytes, in one piece. */
  abstract isMachineRange(at: number, length: number): boolean;
  abstract machineBytes(at: number, length: number): Uint8Array;
  abstract machine8(at: number): number;
  abstract machine32(at: number): number;
  abstract setMachine8(at: number, value: number): void;
  abstract setMachine32(at: number, value: number): void;
  abstract setMachineBytes(at: number, bytes: Uint8Array): void;

  // ---- The guest's linear memory. Each throws Refused(EFAULT) where the guest's pointer is bad.

  /** A copy of up to a few pages: the caller bounds the length. */
  abstract copyFromGuest(address: bigint, length: number): Uint8Array;
  abstract copyToGuest(address: bigint, bytes: Uint8Array): void;

  guest16(address: bigint): number {
    const bytes = this.copyFromGuest(address, 2);
    return bytes[0] | (bytes[1] << 8);
  }
  guest32(address: bigint): number {
    return new DataView(this.copyFromGuest(address, 4).buffer).getUint32(0, true);
  }
  guest64(address: bigint): bigint {
    return new DataView(this.copyFromGuest(address, 8).buffer).getBigUint64(0, true);
  }
  setGuest32(address: bigint, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value >>> 0, true);
    this.copyToGuest(address, bytes);
  }
  setGuest64(address: bigint, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
    this.copyToGuest(address, bytes);
  }
}
