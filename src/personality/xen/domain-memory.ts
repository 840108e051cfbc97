/** DomainMemory: the memory half of the Xen personality, put together.
 *
 * It takes a domain as the builder left it (its frames, its page tables as plain bytes) and does the builder's last steps:
 * fills Xen's frames, and pins the root, at which all tables are checked and their entries become what a kernel at
 * CPL 3 needs. From then on the calls of a guest come here.
 * Follows: tools/libs/guest/xg_dom_boot.c and xg_dom_x86.c (bootlate_pv, pin_table), xen/arch/x86/domain.c
 * (arch_set_info_guest: the vCPU takes the root).
 * Next: personality/xen/machine-memory.ts. */
import { assert } from '../../base/errors.ts';
import { hex } from '../../base/numbers.ts';
import type { MachineFrames } from '../../memory/machine-frames.ts';
import { Descriptors, type LdtRegister } from './descriptors.ts';
import { FRAME, type FrameTypes, isPlainMemory, OWNER } from './frame-types.ts';
import { GuestAccess } from './guest-access.ts';
import { MachineMemory, type MemoryCpu } from './machine-memory.ts';
import { MmuCalls } from './mmu-calls.ts';
import { MmuextCalls, type Roots } from './mmuext-calls.ts';
import { PageTables } from './page-tables.ts';
import { TableStores } from './table-stores.ts';
import { XenArea } from './xen-area.ts';

/** What memory rules need of the CPU and of the domain; personality.ts's PersonalityCpu and domain.ts's Domain have it. */
export type DomainMemorySetup = {
  cpu: MemoryCpu & { state: LdtRegister };
  frames: MachineFrames;
  /** `kernelRoot` is the builder's; the CPU's CR3 is it already. */
  roots: Roots;
  /** The guest's own number, which start_info does not tell it. */
  domid: number;
};

export class DomainMemory {
  readonly machine: MachineMemory;
  readonly types: FrameTypes;
  readonly tables: PageTables;
  readonly area: XenArea;
  readonly guest: GuestAccess;
  readonly descriptors: Descriptors;
  readonly mmu: MmuCalls;
  readonly mmuext: MmuextCalls;
  readonly stores: TableStores;

  constructor({ cpu, frames, roots, domid }: DomainMemorySetup) {
    const memory = new MachineMemory(cpu, frames.end);
    this.machine = memory;
    this.guest = new GuestAccess(memory, roots);
    this.tables = new PageTables(memory, {
      checkDescriptors: (mfn) => this.descriptors.checkFrame(mfn),
      descriptorsUnmapped: () => this.descriptors.dropLdt(),
      freed: (mfn) => this.area.setM2p(mfn, 0xffff_ffff, 0xffff_ffff),
    });
    this.types = this.tables.types;
    this.area = new XenArea(memory, frames, this.tables.xenSlots);
    this.descriptors = new Descriptors(memory, this.types, this.area, this.guest, cpu.state);
    const { types, tables, area } = this;
    const parts = { memory, types, tables, area, guest: this.guest, domid };
    this.mmu = new MmuCalls(parts);
    this.mmuext = new MmuextCalls(parts, this.descriptors, roots);
    this.stores = new TableStores(parts);
    this.#own(frames);
    this.#takeRoot(roots.kernelRoot);
  }

  /** Whether Xen may write into a frame on the guest's behalf: it is the guest's, and plain memory. */
  mayWriteFrame(mfn: number): boolean {
    return isPlainMemory(this.types, mfn);
  }

  /** Whoever is behind a ring (the console's, the store's) has its frame mapped for writing from another domain, as long
   * as the guest lives: so it can never become a page table, which the writer would then change unseen. */
  mapForBackend(mfn: number): void {
    const failed = this.types.getWithType(mfn, FRAME.WRITABLE);
    assert(failed === 0, `the domain builder leaves the ring at ${hex(mfn * 0x1000)} writable (error ${failed})`);
  }

  #own(frames: MachineFrames): void {
    const { types } = this;
    // Whatever their order, the guest's are the machine's first frames.
    types.owner.fill(OWNER.XEN, frames.nrPages, frames.end);
    types.giveFirst(frames.nrPages);
    const { sharedInfo, grants } = frames.hypervisor;
    for (const { first, count } of [sharedInfo, grants]) for (let i = 0; i < count; i++) types.lend(first + i);
  }

  /** The builder's pin, and the vCPU's own use of its root. */
  #takeRoot(mfn: number): void {
    const failed = this.types.pin(mfn, FRAME.L4) || this.types.getWithType(mfn, FRAME.L4);
    assert(failed === 0, `the domain builder's page tables at ${hex(mfn * 0x1000)} are right (error ${failed})`);
    this.machine.flushTlb();
  }
}
