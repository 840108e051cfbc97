/** HvmDomain: one PVH guest, as the hypervisor knows it.
 *
 * The CPU is the guest's own, with its page tables, traps and interrupts; Xen is asked by VMMCALL, and interrupts it by
 * one vector. Pointers in calls are linear addresses of the guest's present address space, whatever mode it is in; a
 * caller in 32-bit code has the structs of 32-bit guests, and what shared_info looks like was settled when the guest
 * last wrote its hypercall page or its callback.
 * Follows: xen/arch/x86/hvm/hvm.c (hvm_latch_shinfo_size, __hvm_copy), xen/arch/x86/include/asm/hvm/domain.h.
 * May not: know a hypercall.   Next: personality/xen/hvm/cpuid.ts. */
import { anything, byte, flag, listOf, maybe, record, type Saved, whole, wide } from '../../../base/saved.ts';
import { HVM_PARAM, SPECIAL_PAGES, XEN_GUEST_PORTS } from '../../../layout/xen/hvm.ts';
import { GRANT_FRAMES } from '../../../memory/machine-frames.ts';
import { isLinearFault, type PersonalityWorld } from '../../personality.ts';
import { ConsoleRing } from '../console.ts';
import { EFAULT, Refused } from '../errno.ts';
import { EventChannels } from '../events.ts';
import { seedGrants } from '../grant.ts';
import { GUEST_DOMID, GuestDomain } from '../guest-domain.ts';
import { StoreConnection } from '../store/requests.ts';
import { StoreRing } from '../store/ring.ts';
import { seededTree } from '../store/seed.ts';
import { Clock } from '../time.ts';
import { AddressSpace } from './address-space.ts';

const PAGE = 4096;
/** XENFEAT_* of a plain HVM guest: writable_page_tables 0, auto_translated_physmap 2, hvm_callback_vector 8,
 * hvm_safe_pvclock 9, memory_op_vnode_supported 13, direct_mapped 17 (that it is not). */
const FEATURES = [0, 2, 8, 9, 13, 17].reduce((mask, bit) => mask | (1 << bit), 0);

export type MemoryMapEntry = { addr: number; size: number; type: number };

export const grantPage = (index: number): string => `grant ${index}`;
const SHARED_INFO = 'shared_info';

export class HvmDomain extends GuestDomain {
  readonly space: AddressSpace;
  readonly events: EventChannels;
  readonly clock: Clock;
  /** HVM params by number; what is not there is 0. */
  readonly params = new Map<number, bigint>();
  /** The vector of the callback, when the guest has set one (HVM_PARAM_CALLBACK_IRQ). */
  callbackVector: number | undefined;
  /** The vector of its own that a vCPU has set instead, and whether an upcall through it waits: it is an edge. */
  upcallVector: number | undefined;
  upcallWaits = false;
  /** Frames of RAM that the guest has given back. */
  readonly givenBack = new Set<number>();
  /** As the toolstack has told it. */
  readonly memoryMap: readonly MemoryMapEntry[];
  readonly features = FEATURES;
  readonly virtStart = 0n;
  readonly mostGrantFrames = GRANT_FRAMES;

  /** `ramSize`: the guest's own memory. */
  constructor(world: PersonalityWorld, ramSize: number, memoryMap: readonly MemoryMapEntry[]) {
    super(world);
    this.memoryMap = memoryMap;
    const space = new AddressSpace(world.cpu, ramSize);
    this.space = space;
    const sharedInfo = space.add(SHARED_INFO);
    for (let i = 0; i < GRANT_FRAMES; i++) space.add(grantPage(i));
    this.events = new EventChannels(this, sharedInfo, false);
    this.clock = new Clock(this);
    this.events.onPending = (port) => this.clock.portPending(port);
    this.events.onUpcall = () => {
      if (this.upcallVector !== undefined) this.upcallWaits = true;
    };
    this.clock.writeTime(this.events.vcpuInfo);
    this.clock.writeWallClock(sharedInfo, world.rtcSeconds);
    const { store, console } = SPECIAL_PAGES;
    const ports = XEN_GUEST_PORTS;
    this.console = new ConsoleRing(this, space.add('console', console), ports.console);
    const seed = {
      domid: GUEST_DOMID,
      memory: ramSize / 1024,
      store: { port: ports.store, frame: store },
      console: { port: ports.console, frame: console },
    };
    const connection = new StoreConnection(seededTree(seed), GUEST_DOMID);
    this.store = new StoreRing(this, space.add('store', store), ports.store, connection);
    seedGrants(this, space.addressOf(grantPage(0)) as number, { console, xenstore: store });
    this.params.set(HVM_PARAM.STORE_PFN, BigInt(store));
    this.params.set(HVM_PARAM.STORE_EVTCHN, BigInt(ports.store));
    this.params.set(HVM_PARAM.CONSOLE_PFN, BigInt(console));
    this.params.set(HVM_PARAM.CONSOLE_EVTCHN, BigInt(ports.console));
  }

  protected saveOwn(): Saved {
    return {
      space: this.space.save(),
      params: [...this.params].map(([number, value]) => ({ number, value })),
      callbackVector: this.callbackVector,
      upcallVector: this.upcallVector,
      upcallWaits: this.upcallWaits,
      givenBack: [...this.givenBack],
    };
  }

  protected restoreOwn(saved: Saved, where: string): void {
    const state = record({
      space: anything,
      params: listOf(record({ number: whole(), value: wide })),
      callbackVector: maybe(byte),
      upcallVector: maybe(byte),
      upcallWaits: flag,
      givenBack: listOf(whole()),
    })(saved, where);
    this.space.restore(state.space, `${where}.space`);
    this.params.clear();
    for (const { number, value } of state.params) this.params.set(number, value);
    this.callbackVector = state.callbackVector;
    this.upcallVector = state.upcallVector;
    this.upcallWaits = state.upcallWaits;
    this.givenBack.clear();
    for (const frame of state.givenBack) this.givenBack.add(frame);
  }

  /** The guest's word size, as its present code tells; shared_info takes that form. */
  latchWidth(): void {
    const width = this.state.is64 ? 64 : 32;
    if (this.events.width === width) return;
    this.events.width = width;
    this.clock.writeWallClock(this.events.sharedInfo, this.world.rtcSeconds);
  }

  placeGrantFrame(index: number, frame: number): void {
    this.#keepingSharedInfo(() => this.space.move(grantPage(index), frame));
  }

  placeSharedInfo(frame: number): void {
    this.#keepingSharedInfo(() => this.space.move(SHARED_INFO, frame));
  }

  /** A frame that the guest takes from its own sight; what Xen keeps there goes on where nobody sees it. */
  removeFrame(frame: number): boolean {
    return this.#keepingSharedInfo(() => this.space.remove(frame));
  }

  /** What moves pages may move shared_info, and the vcpu_info in it. */
  #keepingSharedInfo<T>(act: () => T): T {
    const { events, space } = this;
    const offset = events.vcpuInfo - events.sharedInfo;
    const result = act();
    events.sharedInfo = space.addressOf(SHARED_INFO) as number;
    if (offset >= 0 && offset < PAGE) events.vcpuInfo = events.sharedInfo + offset;
    return result;
  }

  grantFrame(index: number): number {
    return this.space.frameOf(grantPage(index)) ?? -1;
  }

  lendFrame(frame: bigint): number {
    return frame < BigInt(this.space.ramFrames) ? Number(frame) * PAGE : -1; // a page of Xen's could be moved away
  }

  isGuestRange(): boolean {
    return true; // the guest's address space is all its own; a bad pointer faults
  }

  isMachineRange(at: number, length: number): boolean {
    return this.space.has(Math.floor(at / PAGE)) && (at % PAGE) + length <= PAGE;
  }
  machineBytes(at: number, length: number): Uint8Array {
    return this.space.bytes(at, length);
  }
  machine8(at: number): number {
    return this.space.get8(at);
  }
  machine32(at: number): number {
    return this.space.get32(at);
  }
  setMachine8(at: number, value: number): void {
    this.space.set8(at, value);
  }
  setMachine32(at: number, value: number): void {
    this.space.set32(at, value);
  }
  setMachineBytes(at: number, bytes: Uint8Array): void {
    this.space.write(at, bytes);
  }

  copyFromGuest(address: bigint, length: number): Uint8Array {
    const out = new Uint8Array(length);
    this.#piecewise(address, length, (at, size, done) => {
      let value = this.cpu.readLinear(at, size, true);
      for (let i = 0; i < size; i++) {
        out[done + i] = Number(value & 0xffn);
        value >>= 8n;
      }
    });
    return out;
  }

  copyToGuest(address: bigint, bytes: Uint8Array): void {
    this.#piecewise(address, bytes.length, (at, size, done) => {
      let value = 0n;
      for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[done + i]);
      this.cpu.writeLinear(at, size, value, true);
    });
  }

  /** Eight bytes at a time, aligned. */
  #piecewise(address: bigint, length: number, one: (at: bigint, size: 1 | 8, done: number) => void): void {
    const bits = this.state.is64 ? 64 : 32;
    try {
      for (let done = 0; done < length; ) {
        const at = BigInt.asUintN(bits, address + BigInt(done));
        const size = length - done >= 8 && (at & 7n) === 0n ? 8 : 1;
        one(at, size, done);
        done += size;
      }
    } catch (e) {
      if (isLinearFault(e)) throw new Refused(EFAULT);
      throw e;
    }
  }
}
