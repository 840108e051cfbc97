/** A small domain with the builder's page tables, for tests of the memory rules: 1 MiB of guest frames, scrambled, mapped
 * from VIRT_BASE on, as the domain builder leaves them. Table pages are mapped read-only. */
import { machineFrames } from '../../../src/memory/machine-frames.ts';
import { DomainMemory } from '../../../src/personality/xen/domain-memory.ts';
import { GUEST_DOMID } from '../../../src/personality/xen/guest-domain.ts';
import type { Segment } from '../../../src/x86/vcpu-state.ts';

export const PAGES = 256;
export const VIRT_BASE = 0xffff_ffff_8000_0000n;
/** PFNs of the builder's tables, root first. */
export const TABLES = { l4: 240, l3: 241, l2: 242, l1: 243 } as const;
/** PFNs that tests write their requests to, and where `done` goes. */
export const REQUESTS = 1;
export const DONE_AT = VIRT_BASE + 0x2000n;
export const SELF = 0x7ff0;
export const P = 1n;
export const RW = 2n;
export const US = 4n;

export const va = (pfn: number, offset = 0): bigint => VIRT_BASE + BigInt(pfn * 4096 + offset);

/** `pinned` false: another domain object is to take the builder's tables; this one is for its addresses only. */
export function makeDomain(pinned = true) {
  const frames = machineFrames(PAGES, { scrambled: 7 });
  const buffer = new ArrayBuffer(frames.end * 4096);
  const view = new DataView(buffer);
  const log = { flushes: 0, pages: [] as bigint[], ldtr: undefined as Segment | undefined, cr3: 0 };
  const mfn = (pfn: number): number => frames.p2m[pfn];
  const entryAt = (pfn: number, index: number): number => mfn(pfn) * 4096 + index * 8;
  const set = (pfn: number, index: number, value: bigint): void => view.setBigUint64(entryAt(pfn, index), value, true);
  const get = (pfn: number, index: number): bigint => view.getBigUint64(entryAt(pfn, index), true);
  const pte = (pfn: number, flags: bigint): bigint => (BigInt(mfn(pfn)) << 12n) | flags;

  set(TABLES.l4, 511, pte(TABLES.l3, 0x067n));
  set(TABLES.l3, 510, pte(TABLES.l2, 0x067n));
  set(TABLES.l2, 0, pte(TABLES.l1, 0x067n));
  const isTable = (pfn: number) => pfn >= TABLES.l4 && pfn <= TABLES.l1;
  for (let pfn = 0; pfn < PAGES; pfn++) set(TABLES.l1, pfn, pte(pfn, isTable(pfn) ? 0x021n : 0x023n));

  const roots = {
    kernelRoot: mfn(TABLES.l4),
    userRoot: 0,
    loadRoot() {
      log.cr3 = roots.kernelRoot;
    },
  };
  const cpu = {
    buffer,
    ramOffset: 0,
    ramSize: buffer.byteLength,
    physicalWritten: () => undefined,
    flushTlb: () => {
      log.flushes++;
    },
    flushTlbPage: (address: bigint) => {
      log.pages.push(address);
    },
    state: {
      setSegment: (_: number, value: Segment) => {
        log.ldtr = value;
      },
    },
  };
  const domain = pinned
    ? new DomainMemory({ cpu, frames, roots, domid: GUEST_DOMID })
    : (undefined as never as DomainMemory);
  const done = (): number => view.getUint32(mfn(2) * 4096, true);

  const list = (words: readonly bigint[]): bigint => {
    for (const [i, word] of words.entries()) set(REQUESTS, i, BigInt.asUintN(64, word));
    return va(REQUESTS);
  };
  /** mmu_update with pairs of ptr and val. */
  const mmuUpdate = (...requests: [ptr: bigint, val: bigint][]): number =>
    domain.mmu.mmuUpdate({ list: list(requests.flat()), count: requests.length, done: DONE_AT, domain: SELF });
  /** mmuext_op with triples of command and two arguments. */
  const mmuext = (...ops: [cmd: number, arg1: bigint | number, arg2?: bigint | number][]): number =>
    domain.mmuext.mmuextOp({
      list: list(ops.flatMap(([cmd, a, b = 0]) => [BigInt(cmd), BigInt(a), BigInt(b)])),
      count: ops.length,
      done: DONE_AT,
      domain: SELF,
    });
  /** Points the builder's mapping of a PFN at the same frame with other flags. */
  const remap = (pfn: number, flags: bigint): number => domain.mmu.updateVaMapping(va(pfn), pte(pfn, flags), 0n);
  /** Machine address of an entry. */
  const at = (pfn: number, index: number): bigint => BigInt(entryAt(pfn, index));
  return {
    frames,
    buffer,
    view,
    log,
    roots,
    cpu,
    domain,
    mfn,
    set,
    get,
    pte,
    done,
    list,
    mmuUpdate,
    mmuext,
    remap,
    at,
  };
}

export type TestDomain = ReturnType<typeof makeDomain>;
