/** Domain: one Xen PV guest with its one virtual CPU, as the hypervisor knows it.
 *
 * Here is what Xen keeps beside the hardware's registers (kernel or user mode, the two page-table roots, trap table,
 * callbacks, kernel stack, virtual TS and IOPL), and the two ways to memory: by machine address, for the hypervisor's
 * own business, and by the guest's linear address, for what a guest pointed at. The rules are in the files around:
 * each takes a Domain.
 * Follows: xen/arch/x86/include/asm/domain.h (struct pv_vcpu), guest_access.h.
 * May not: judge a guest; know a hypercall.   Next: personality/xen/events.ts. */
import { XEN_AREA } from '../../layout/xen/addresses.ts';
import { DOMID_SELF } from '../../layout/xen/event-arguments.ts';
import { type MachineFrames, type Mfn, machineAddress } from '../../memory/machine-frames.ts';
import { CR0 } from '../../x86/constants.ts';
import type { PersonalityCpu, PersonalityRegisters, PersonalityWorld } from '../personality.ts';
import type { ConsoleRing } from './console.ts';
import { DomainMemory, GUEST_DOMID } from './domain-memory.ts';
import { EFAULT, Refused } from './errno.ts';
import { EventChannels } from './events.ts';
import type { HypercallArgs } from './hypercall-row.ts';
import { Clock } from './time.ts';

/** Whether a domain number in a call's argument means the guest. */
export const isSelf = (domid: number): boolean => domid === DOMID_SELF || domid === GUEST_DOMID;

const LOW_END = 0x8000_0000_0000n;
const LINEAR_END = 1n << 64n;

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

/** One entry of the trap table; address 0 means that no handler is there. Its selector is not kept: a 64-bit guest's
 * handlers are entered with Xen's own. */
export type TrapEntry = { address: bigint; dpl: number; masksEvents: boolean };
/** A handler given by callback_op. */
export type Callback = { address: bigint; masksEvents: boolean };
export const NO_CALLBACK: Callback = { address: 0n, masksEvents: false };
export const NO_TRAP: TrapEntry = { address: 0n, dpl: 0, masksEvents: false };

export class Domain {
  readonly world: PersonalityWorld;
  readonly cpu: PersonalityCpu;
  readonly state: PersonalityRegisters;
  readonly frames: MachineFrames;
  /** Names of what the guest asked for and is not built, each once. */
  readonly missing: string[] = [];

  /** TF_kernel_mode: the one thing that tells the guest's kernel from its programs. Both run at CPL 3. */
  kernelMode = true;
  /** Machine frames of the two page-table roots; a user root of 0 is none. */
  kernelRoot: number;
  userRoot = 0;
  trapTable: TrapEntry[] = new Array(256).fill(NO_TRAP);
  eventCallback = NO_CALLBACK;
  syscallCallback = NO_CALLBACK;
  syscall32Callback = NO_CALLBACK;
  /** Where the kernel's stack is when the guest comes out of user mode. */
  kernelSp = 0n;
  iopl = 0;
  /** The four CR4 bits that are the guest's choice. */
  guestCr4 = 0;
  /** Bits by vm_assist type. */
  assists = 0n;
  /** The bytes last written to I/O port 0xcf8, which nobody reads. */
  configAddress = 0;
  /** The port bitmap of physdev_op set_iobitmap: where in the kernel's space, and how many ports it has. */
  ioBitmap = { address: 0n, ports: 0 };
  readonly memory: DomainMemory;
  readonly events: EventChannels;
  readonly clock: Clock;
  /** Set by a handler that has done a part of a long call: the arguments for what is left. The guest executes its
   * instruction again with them, as Xen's continuations do. */
  again: HypercallArgs | undefined;
  inMulticall = false;
  /** Frames of the grant table that the guest has asked for. */
  grantFrames = 1;
  console!: ConsoleRing; // there before the first instruction
  /** Set when the run has ended: what follows in the same hypercall changes nothing more. */
  ended = false;

  readonly #view: DataView;
  readonly #bytes: Uint8Array;

  constructor(world: PersonalityWorld, frames: MachineFrames, rootMfn: Mfn) {
    this.world = world;
    this.cpu = world.cpu;
    this.state = world.cpu.state;
    this.frames = frames;
    this.kernelRoot = rootMfn;
    this.kernelSp = world.cpu.state.gpr(RSP);
    this.#view = new DataView(world.cpu.buffer, world.cpu.ramOffset, world.cpu.ramSize);
    this.#bytes = new Uint8Array(world.cpu.buffer, world.cpu.ramOffset, world.cpu.ramSize);
    this.memory = new DomainMemory({ cpu: world.cpu, frames, roots: this, domid: GUEST_DOMID });
    this.events = new EventChannels(this, machineAddress(frames.hypervisor.sharedInfo.first));
    this.clock = new Clock(this);
    this.events.onPending = (port) => this.clock.portPending(port);
  }

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
    if (this.missing.length < 256 && !this.missing.includes(name)) this.missing.push(name);
  }

  /** The hardware's CR0.TS is what the guest's is; the rest of CR0 is Xen's. */
  setVirtualTs(on: boolean): void {
    const cr0 = this.state.get64('CR0');
    this.state.set64('CR0', on ? cr0 | BigInt(CR0.TS) : cr0 & ~BigInt(CR0.TS));
    this.cpu.modeChanged();
  }

  /** Between the guest's kernel and user mode: swaps the GS bases, and loads the other root. Whether there is a user root
   * is the caller's question. */
  toggleMode(): void {
    const { state } = this;
    const gs = state.base(GS);
    state.setBase(GS, state.get64('KERNEL_GS_BASE'));
    state.set64('KERNEL_GS_BASE', gs);
    this.kernelMode = !this.kernelMode;
    this.loadRoot();
  }

  /** CR3 := the root of the mode that the guest is in. */
  loadRoot(): void {
    const root = this.kernelMode ? this.kernelRoot : this.userRoot;
    const cr3 = BigInt(root) << 12n;
    if (this.state.get64('CR3') === cr3) return;
    this.state.set64('CR3', cr3);
    this.cpu.flushTlb();
  }

  // ---- Machine memory, by byte address. The caller has made sure that it is there.

  machineBytes(at: number, length: number): Uint8Array {
    return this.#bytes.subarray(at, at + length);
  }
  machine8(at: number): number {
    return this.#view.getUint8(at);
  }
  machine32(at: number): number {
    return this.#view.getUint32(at, true);
  }
  setMachine8(at: number, value: number): void {
    this.#view.setUint8(at, value);
    this.cpu.physicalWritten(at, 1);
  }
  setMachine32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
    this.cpu.physicalWritten(at, 4);
  }
  setMachine64(at: number, value: bigint): void {
    this.#view.setBigUint64(at, value, true);
    this.cpu.physicalWritten(at, 8);
  }
  setMachineBytes(at: number, bytes: Uint8Array): void {
    this.#bytes.set(bytes, at);
    this.cpu.physicalWritten(at, bytes.length);
  }

  // ---- The guest's linear memory, by its kernel's root whatever mode it is in. Each throws Refused(EFAULT) where the
  // guest's pointer is bad.

  /** A copy of up to a few pages: the caller bounds the length. */
  copyFromGuest(address: bigint, length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const here = address + BigInt(done);
      const size = Math.min(length - done, PAGE - Number(here & 0xfffn));
      out.set(this.machineBytes(this.#translate(here, false), size), done);
      done += size;
    }
    return out;
  }

  copyToGuest(address: bigint, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const here = address + BigInt(done);
      const size = Math.min(bytes.length - done, PAGE - Number(here & 0xfffn));
      this.setMachineBytes(this.#translate(here, true), bytes.subarray(done, done + size));
      done += size;
    }
  }

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

  #translate(address: bigint, write: boolean): number {
    const linear = BigInt.asUintN(64, address);
    const at = this.memory.guest.translate(Number(linear & 0xffff_ffffn), Number(linear >> 32n), write);
    if (at < 0) throw new Refused(EFAULT);
    return at;
  }
}

const PAGE = 4096;
const RSP = 4;
const GS = 5;
/** Bits 63-47 all equal. */
export function isCanonical(address: bigint): boolean {
  const top = BigInt.asIntN(64, address) >> 47n;
  return top === 0n || top === -1n;
}

/** Whether a guest may have Xen read or write there at all: canonical, and not in Xen's own range. */
export function isGuestRange(address: bigint, length: number): boolean {
  if (address < 0n || address >= LINEAR_END) return false;
  const end = address + BigInt(length);
  if (end > LINEAR_END) return false;
  return end <= LOW_END || address >= XEN_AREA.end;
}
