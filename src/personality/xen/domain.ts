/** Domain: one Xen PV guest with its one virtual CPU, as the hypervisor knows it.
 *
 * Here is what Xen keeps beside the hardware's registers (kernel or user mode, the two page-table roots, trap table,
 * callbacks, kernel stack, virtual TS and IOPL), and the two ways to memory: by machine address, for the hypervisor's
 * own business, and by the guest's linear address, for what a guest pointed at. The rules are in the files around:
 * each takes a Domain.
 * Follows: xen/arch/x86/include/asm/domain.h (struct pv_vcpu), guest_access.h.
 * May not: judge a guest; know a hypercall.   Next: personality/xen/events.ts. */
import {
  anything,
  flag,
  keepFields,
  listOf,
  putFields,
  record,
  type Saved,
  whole,
  wide,
  word32,
} from '../../base/saved.ts';
import { M2P_VIRT_START, XEN_AREA } from '../../layout/xen/addresses.ts';
import { type MachineFrames, type Mfn, machineAddress, mfn } from '../../memory/machine-frames.ts';
import { CR0 } from '../../x86/constants.ts';
import type { PersonalityWorld } from '../personality.ts';
import { DomainMemory } from './domain-memory.ts';
import { EFAULT, Refused } from './errno.ts';
import { EventChannels } from './events.ts';
import { FRAME } from './frame-types.ts';
import { ASSIST, GUEST_DOMID, GuestDomain } from './guest-domain.ts';
import { Clock, PERIODIC_AT_START } from './time.ts';

const LOW_END = 0x8000_0000_0000n;
const LINEAR_END = 1n << 64n;

/** XENFEAT_* of a plain 64-bit PV guest: mmu_pt_update_preserve_ad 5, highmem_assist 6, gnttab_map_avail_bits 7,
 * memory_op_vnode_supported 13, direct_mapped 17. Bit 4, pae_pgdir_above_4gb, follows its assist. */
const FEATURES = [5, 6, 7, 13, 17].reduce((mask, bit) => mask | (1 << bit), 0);
const PAE_PGDIR_ABOVE_4GB = 1 << 4;

/** One entry of the trap table; address 0 means that no handler is there. Its selector is not kept: a 64-bit guest's
 * handlers are entered with Xen's own. */
export type TrapEntry = { address: bigint; dpl: number; masksEvents: boolean };
/** A handler given by callback_op. */
export type Callback = { address: bigint; masksEvents: boolean };
export const NO_CALLBACK: Callback = { address: 0n, masksEvents: false };
export const NO_TRAP: TrapEntry = { address: 0n, dpl: 0, masksEvents: false };

const callback = record({ address: wide, masksEvents: flag });
const FIELDS = {
  kernelMode: flag,
  kernelRoot: word32,
  userRoot: word32,
  trapTable: listOf(record({ address: wide, dpl: whole(3), masksEvents: flag }), 256),
  eventCallback: callback,
  syscallCallback: callback,
  syscall32Callback: callback,
  kernelSp: wide,
  iopl: whole(3),
  guestCr4: word32,
  configAddress: word32,
  ioBitmap: record({ address: wide, ports: word32 }),
};

export class Domain extends GuestDomain {
  readonly frames: MachineFrames;

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
  /** The bytes last written to I/O port 0xcf8, which nobody reads. */
  configAddress = 0;
  /** The port bitmap of physdev_op set_iobitmap: where in the kernel's space, and how many ports it has. */
  ioBitmap = { address: 0n, ports: 0 };
  readonly memory: DomainMemory;
  readonly events: EventChannels;
  readonly clock: Clock;

  readonly #view: DataView;
  readonly #bytes: Uint8Array;

  constructor(world: PersonalityWorld, frames: MachineFrames, rootMfn: Mfn) {
    super(world);
    this.frames = frames;
    this.kernelRoot = rootMfn;
    this.kernelSp = world.cpu.state.gpr(RSP);
    this.#view = new DataView(world.cpu.buffer, world.cpu.ramOffset, world.cpu.ramSize);
    this.#bytes = new Uint8Array(world.cpu.buffer, world.cpu.ramOffset, world.cpu.ramSize);
    this.memory = new DomainMemory({ cpu: world.cpu, frames, roots: this, domid: GUEST_DOMID });
    this.events = new EventChannels(this, machineAddress(frames.hypervisor.sharedInfo.first));
    this.clock = new Clock(this, PERIODIC_AT_START);
    this.events.onPending = (port) => this.clock.portPending(port);
  }

  protected saveOwn(): Saved {
    const { types, descriptors, machine } = this.memory;
    return {
      fields: keepFields(this, FIELDS),
      types: types.save(),
      descriptors: descriptors.save(),
      stale: machine.stale,
    };
  }

  /** What the constructor has written into memory and pinned there is all replaced. */
  protected restoreOwn(saved: Saved, where: string): void {
    const { types, descriptors, machine } = this.memory;
    const shape = { fields: anything, types: anything, descriptors: anything, stale: flag };
    const state = record(shape)(saved, where);
    putFields(this, FIELDS, state.fields, where);
    types.restore(state.types, `${where}.types`);
    descriptors.restore(state.descriptors, `${where}.descriptors`);
    machine.stale = state.stale;
  }

  get features(): number {
    return FEATURES | (this.hasAssist(ASSIST.PAE_EXTENDED_CR3) ? PAE_PGDIR_ABOVE_4GB : 0);
  }
  readonly virtStart = M2P_VIRT_START;

  get mostGrantFrames(): number {
    return this.frames.hypervisor.grants.count;
  }
  grantFrame(index: number): number {
    return this.frames.hypervisor.grants.first + index;
  }

  lendFrame(frame: bigint): number {
    const { types } = this.memory;
    if (frame >= BigInt(types.frames)) return -1;
    const lent = mfn(Number(frame));
    return types.getWithType(lent, FRAME.WRITABLE) === 0 ? machineAddress(lent) : -1; // Xen keeps it mapped
  }

  isGuestRange(address: bigint, length: number): boolean {
    return isGuestRange(address, length);
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

  isMachineRange(at: number, length: number): boolean {
    return at + length <= this.#bytes.length;
  }
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
