/** A page walk for people: which table entry says what about an address, level by level, until one says no.
 *
 * It only looks. The engine has a walker of its own that sets accessed and dirty bits and raises faults; this one reads
 * guest memory after the fact, for crash reports and for reading code and data by their virtual addresses.
 * Follows: SDM Vol. 3, 4.3 (32-bit), 4.4 (PAE), 4.5 (4-level).   May not: change anything.
 * Next: machine/crash-report.ts. */
import { hex } from '../base/numbers.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { CR0, CR4, EFER, PTE } from '../x86/constants.ts';
import type { VcpuState } from '../x86/vcpu-state.ts';

export type WalkStep = {
  /** PML4, PDPT, PD or PT, as the manual names the table that holds the entry. */
  table: string;
  index: number;
  /** Guest physical address of the entry. */
  at: number;
  entry: bigint;
  /** The entry's bits in words, or why the walk ends here. */
  says: string;
};

export type Walk = {
  steps: WalkStep[];
  /** Guest physical address, when the walk found one. */
  gpa: number | undefined;
  /** Bytes from there to the end of the page (4 KiB at least). */
  left: number;
};

type Registers = Pick<VcpuState, 'cr0' | 'cr3' | 'cr4' | 'efer'>;

const ADDRESS = 0x000f_ffff_ffff_f000n;
const NX = 1n << 63n;

type Level = { table: string; shift: number; bits: number; large?: 'PSE' | 'PS' };
const FOUR_LEVEL: Level[] = [
  { table: 'PML4', shift: 39, bits: 9 },
  { table: 'PDPT', shift: 30, bits: 9, large: 'PS' },
  { table: 'PD', shift: 21, bits: 9, large: 'PS' },
  { table: 'PT', shift: 12, bits: 9 },
];
const PAE: Level[] = [{ table: 'PDPT', shift: 30, bits: 2 }, ...FOUR_LEVEL.slice(2)];
const TWO_LEVEL: Level[] = [
  { table: 'PD', shift: 22, bits: 10, large: 'PSE' },
  { table: 'PT', shift: 12, bits: 10 },
];

/** Walks the tables that the control registers name. `address` is linear. */
export function walkPages(memory: GuestMemory, registers: Registers, address: bigint): Walk {
  const { cr0, cr3, cr4, efer } = registers;
  if ((cr0 & BigInt(CR0.PG)) === 0n) {
    const gpa = Number(BigInt.asUintN(32, address));
    return { steps: [], gpa, left: 0x1000 - (gpa & 0xfff) };
  }
  const long = (efer & BigInt(EFER.LMA)) !== 0n;
  const pae = (cr4 & BigInt(CR4.PAE)) !== 0n;
  const linear = long ? BigInt.asUintN(64, address) : BigInt.asUintN(32, address);
  const steps: WalkStep[] = [];
  if (long && BigInt.asUintN(64, BigInt.asIntN(48, linear)) !== linear) {
    return { steps, gpa: undefined, left: 0 }; // not canonical: no walk begins
  }

  const levels = long ? FOUR_LEVEL : pae ? PAE : TWO_LEVEL;
  const entrySize = long || pae ? 8 : 4;
  let table = Number(cr3 & (long || !pae ? ADDRESS : 0xffff_ffe0n));
  for (const { table: name, shift, bits, large } of levels) {
    const index = Number((linear >> BigInt(shift)) & BigInt((1 << bits) - 1));
    const at = table + index * entrySize;
    if (!memory.contains(at, entrySize)) {
      steps.push({ table: name, index, at, entry: 0n, says: `the table is outside RAM (${hex(memory.size)} bytes)` });
      return { steps, gpa: undefined, left: 0 };
    }
    const entry = entrySize === 8 ? memory.readU64(at) : BigInt(memory.readU32(at));
    const present = (entry & BigInt(PTE.P)) !== 0n;
    const isLarge =
      (entry & BigInt(PTE.PS)) !== 0n && (large === 'PS' || (large === 'PSE' && (cr4 & BigInt(CR4.PSE)) !== 0n));
    const isLeaf = shift === 12 || isLarge;
    steps.push({ table: name, index, at, entry, says: present ? describe(entry, isLeaf, shift) : 'not present' });
    if (!present) return { steps, gpa: undefined, left: 0 };
    if (isLeaf) {
      const pageSize = 1n << BigInt(shift);
      const frame = entry & (entrySize === 8 ? ADDRESS : 0xffff_f000n) & ~(pageSize - 1n);
      const offset = linear & (pageSize - 1n);
      return { steps, gpa: Number(frame + offset), left: Number(pageSize - offset) };
    }
    table = Number(entry & (entrySize === 8 ? ADDRESS : 0xffff_f000n));
  }
  return { steps, gpa: undefined, left: 0 };
}

function describe(entry: bigint, isLeaf: boolean, shift: number): string {
  const size = { 12: '4 KiB page', 21: '2 MiB page', 22: '4 MiB page', 30: '1 GiB page' }[shift] ?? 'page';
  const words = [
    isLeaf ? size : 'table',
    entry & BigInt(PTE.RW) ? 'writable' : 'read-only',
    entry & BigInt(PTE.US) ? 'user' : 'supervisor',
  ];
  if (entry & NX) words.push('no-execute');
  if (entry & BigInt(PTE.A)) words.push('accessed');
  if (isLeaf && entry & BigInt(PTE.D)) words.push('dirty');
  return words.join(', ');
}

/** Up to `length` bytes at a linear address; fewer when a page in between is not there. */
export function readLinear(memory: GuestMemory, registers: Registers, address: bigint, length: number): Uint8Array {
  const out = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const { gpa, left } = walkPages(memory, registers, address + BigInt(done));
    const count = Math.min(left, length - done);
    if (gpa === undefined || !memory.contains(gpa, count)) break;
    out.set(memory.bytes(gpa, count), done);
    done += count;
  }
  return out.subarray(0, done);
}
