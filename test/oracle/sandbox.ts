/** The sandbox: the little world in which every recorded instruction runs, on the host and in the engine alike.
 *
 * Three pages of code with nothing behind them, two writable pages of data, a read-only one, a hole, another writable
 * one and a hole again, so that an operand at the right place faults as it should. The GDT is the one that Linux shows
 * to user space; the LDT is ours and holds one segment of each kind that modify_ldt can make.
 * Follows: Linux arch/x86/include/asm/segment.h (GDT), asm/desc.h fill_ldt (user_desc to descriptor).
 * May not: know an instruction.   Next: test/oracle/forms.ts. */
import type { Segment } from '../../src/x86/vcpu-state.ts';
import { nullSegment } from '../../src/x86/vcpu-state.ts';
import type { CpuWorld, PageAccess } from '../engine/cpu-driver.ts';
import { Random } from './random.ts';

export const PAGE = 0x1000;
export const CODE = 0x1000_0000;
export const CODE_END = CODE + 3 * PAGE;
export const DATA = 0x2000_0000;
/** The parts of the data area, by address. */
export const READ_ONLY = DATA + 2 * PAGE;
export const HOLE = DATA + 3 * PAGE;
export const ISLAND = DATA + 4 * PAGE;
export const DATA_END = DATA + 5 * PAGE;

/** Code pages are full of HLT: at CPL 3 it raises #GP(0) at its own address, so it is where an instruction ended. */
export const FILLER = 0xf4;

const noise = (seed: string, pages: number): Uint8Array => {
  const random = new Random(seed);
  return Uint8Array.from({ length: pages * PAGE }, () => random.below(256));
};

export const PAGES: readonly { at: number; bytes: Uint8Array; access: PageAccess }[] = [
  { at: CODE, bytes: new Uint8Array(3 * PAGE).fill(FILLER), access: 'rx' },
  { at: DATA, bytes: noise('writable', 2), access: 'rw' },
  { at: READ_ONLY, bytes: noise('read-only', 1), access: 'r' },
  { at: ISLAND, bytes: noise('island', 1), access: 'rw' },
];

/** A segment as modify_ldt takes it (struct user_desc). */
export type LdtEntry = {
  name: string;
  base: number;
  /** In bytes or, with `pages`, in pages. */
  limit: number;
  /** 0 data, 1 expand-down data, 2 code, 3 conforming code. */
  contents: 0 | 1 | 2 | 3;
  /** The D/B bit. */
  big?: boolean;
  /** Read-only data, or code that cannot be read. */
  restricted?: boolean;
  pages?: boolean;
  absent?: boolean;
};

const empty = (name: string): LdtEntry => ({ name, base: 0, limit: 0, contents: 0, restricted: true, absent: true });
const FLAT = { base: 0, limit: 0xfffff, pages: true, big: true };

/** Index in the table = index of the selector. Linux sets every type's accessed bit and DPL 3. */
export const LDT: readonly LdtEntry[] = [
  empty('unused'),
  { name: 'flat data', ...FLAT, contents: 0 },
  { name: 'data to an odd limit', base: DATA, limit: 0x17fb, contents: 0, big: true },
  { name: 'read-only data', base: DATA, limit: 0x4fff, contents: 0, restricted: true, big: true },
  { name: 'expand-down', base: DATA, limit: 0xfff, contents: 1, big: true },
  { name: 'expand-down, 16-bit', base: DATA, limit: 0xfff, contents: 1 },
  { name: 'expand-down, read-only', base: DATA, limit: 0x7ff, contents: 1, restricted: true, big: true },
  { name: 'code with a base and a limit', base: CODE, limit: 0x2fff, contents: 2, big: true },
  { name: 'flat execute-only code', ...FLAT, contents: 2, restricted: true },
  { name: '16-bit code', base: CODE, limit: 0x2fff, contents: 2 },
  { name: 'absent data', ...FLAT, contents: 0, absent: true },
  { name: 'absent conforming code', ...FLAT, contents: 3, absent: true },
  { name: '16-bit stack', base: DATA, limit: 0xffff, contents: 0 },
  { name: 'data at an odd base, in pages', base: DATA - 13, limit: 4, pages: true, contents: 0, big: true },
  { name: 'data whose base wraps', base: 0xe000_0000, limit: 0xfffff, pages: true, contents: 0, big: true },
  { name: 'one byte of data', base: DATA + 0x100, limit: 0, contents: 0, big: true },
  { name: 'flat code', ...FLAT, contents: 2 },
  { name: 'absent code', ...FLAT, contents: 2, absent: true },
  { name: '16-bit expand-down stack from 0', base: DATA, limit: 0, contents: 1 },
  { name: 'readable code over the data', base: DATA, limit: 0x2fff, contents: 2, restricted: false, big: true },
  { name: 'data in one page', base: DATA + 0x800, limit: 0xfff, contents: 0, big: true },
  empty('unused'),
];

/** The selector of an LDT entry, RPL 3. */
export const ldt = (index: number): number => (index << 3) | 7;
export const USER32_CS = 0x23;
export const USER_DS = 0x2b;
export const USER_CS = 0x33;

/** Access rights (descriptor bits 40-55) as Linux's fill_ldt makes them. */
function attributesOf(e: LdtEntry): number {
  const type = 1 | (e.restricted ? 0 : 2) | (e.contents << 2);
  return type | 0x10 | (3 << 5) | (e.absent ? 0 : 0x80) | (e.big ? 0x4000 : 0) | (e.pages ? 0x8000 : 0);
}

function descriptor(base: number, limit: number, attributes: number): bigint {
  const b = BigInt(base);
  const rights = (BigInt(attributes & 0xf000) << 40n) | (BigInt(attributes & 0xff) << 40n);
  const limits = BigInt(limit & 0xffff) | (BigInt(limit >>> 16) << 48n);
  return rights | limits | ((b & 0xff_ffffn) << 16n) | ((b >> 24n) << 56n);
}

const isEmpty = (e: LdtEntry): boolean => e.name === 'unused';

const ldtTable = BigUint64Array.from(LDT, (e) => (isEmpty(e) ? 0n : descriptor(e.base, e.limit, attributesOf(e))));

/** Entries 1 to 6 are what user space can name; 8 to 11 hold the TSS and the LDT, of which it sees nothing (DPL 0). */
const gdtTable = BigUint64Array.from([
  0n,
  descriptor(0, 0xfffff, 0xc09b),
  descriptor(0, 0xfffff, 0xa09b),
  descriptor(0, 0xfffff, 0xc093),
  descriptor(0, 0xfffff, 0xc0fb),
  descriptor(0, 0xfffff, 0xc0f3),
  descriptor(0, 0xfffff, 0xa0fb),
  0n,
  descriptor(0x1000, 0x67, 0x008b),
  0n,
  descriptor(0x2000, LDT.length * 8 - 1, 0x0082),
  0n,
  0n,
  0n,
  0n,
  0n,
]);

export const WORLD: CpuWorld = {
  pages: PAGES,
  gdt: new Uint8Array(gdtTable.buffer),
  ldt: new Uint8Array(ldtTable.buffer),
};

/** A segment register loaded with this selector, hidden part included. */
export function segmentOf(selector: number): Segment {
  if ((selector & ~3) === 0) return nullSegment(selector);
  const raw = (selector & 4 ? ldtTable : gdtTable)[selector >> 3];
  const attributes = Number((raw >> 40n) & 0xf0ffn);
  const limit = Number(raw & 0xffffn) | (Number((raw >> 48n) & 0xfn) << 16);
  return {
    selector,
    base: ((raw >> 16n) & 0xff_ffffn) | ((raw >> 56n) << 24n),
    limit: attributes & 0x8000 ? limit * PAGE + PAGE - 1 : limit,
    attributes,
  };
}

/** The part of [at, at + length) that is mapped and lies in one piece from `at` on. */
export function mappedLength(at: number, length: number): number {
  const page = PAGES.find((p) => at >= p.at && at < p.at + p.bytes.length);
  if (!page) return 0;
  const here = Math.min(length, page.at + page.bytes.length - at);
  return here === length ? here : here + mappedLength(at + here, length - here);
}
