/** A page walk over bigint, written from the tables of SDM Vol. 3, chapter 4 for comparison only: one loop over the
 * levels instead of one function per kind. 40 physical address bits, 1 GiB pages and PSE-36, as the Mmu's defaults. */
import { ACCESS, type Access } from '../../src/engine/core.ts';

type Question = {
  ram: Uint8Array;
  kind: '2-level' | 'pae' | '4-level';
  pse: boolean;
  wp: boolean;
  nxe: boolean;
  smep: boolean;
  root: bigint;
  pdptes: bigint[];
  address: bigint;
  access: Access;
  user: boolean;
};

const bits = (value: bigint, high: number, low: number) =>
  (value >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n);
const bit = (value: bigint, n: number) => bits(value, n, n) === 1n;

/** Changes `ram` as the walk would. */
export function referenceWalk(q: Question): { gpa: bigint } | { error: number } {
  const view = new DataView(q.ram.buffer);
  const wide = q.kind !== '2-level';
  const bytes = wide ? 8 : 4;
  const present = (p: bigint, reserved: bigint) => {
    const nxe = wide && q.nxe;
    const i = q.access === ACCESS.FETCH && (nxe || q.smep);
    const flags = [p === 1n, q.access === ACCESS.WRITE, q.user, reserved === 1n, i];
    return { error: flags.reduce((sum, set, n) => sum + (set ? 2 ** n : 0), 0) };
  };
  const read32 = (at: number) => BigInt(at < q.ram.length ? view.getUint32(at, true) : 0xffff_ffff);
  const write32 = (at: number, value: bigint) => {
    if (at < q.ram.length) view.setUint32(at, Number(value & 0xffff_ffffn), true);
  };
  const read = (at: bigint) => read32(Number(at)) + (wide ? read32(Number(at) + 4) << 32n : 0n);
  const set = (at: bigint, value: bigint) => write32(Number(at), value); // A and D are in the lower half

  let rw = true;
  let us = true;
  let nx = false;
  let table = q.root;
  let shifts = { '2-level': [22, 12], pae: [21, 12], '4-level': [39, 30, 21, 12] }[q.kind];
  if (q.kind === 'pae') {
    const pdpte = q.pdptes[Number(bits(q.address, 31, 30))];
    if (!bit(pdpte, 0)) return present(0n, 0n);
    table = bits(pdpte, 51, 12) << 12n;
  }
  for (; ; shifts = shifts.slice(1)) {
    const shift = shifts[0];
    const width = wide ? 9 : 10;
    const at = table + bits(q.address, shift + width - 1, shift) * BigInt(bytes);
    const entry = read(at);
    if (!bit(entry, 0)) return present(0n, 0n);
    const large = shift > 12 && bit(entry, 7) && (wide || q.pse);
    let reserved = false;
    if (wide) {
      reserved ||= bits(entry, 51, 40) !== 0n || (bit(entry, 63) && !q.nxe);
      if (q.kind === 'pae') reserved ||= bits(entry, 62, 52) !== 0n;
      if (large && shift === 39) reserved = true;
      if (large && shift < 39) reserved ||= bits(entry, shift - 1, 13) !== 0n;
    } else if (large) reserved = bit(entry, 21);
    if (reserved) return present(1n, 1n);
    rw &&= bit(entry, 1);
    us &&= bit(entry, 2);
    nx ||= wide && bit(entry, 63);
    if (!large && shift > 12) {
      set(at, entry | 0x20n);
      table = (wide ? bits(entry, 51, 12) : bits(entry, 31, 12)) << 12n;
      continue;
    }
    const denied =
      (q.user && !us) ||
      (q.access === ACCESS.WRITE && !rw && (q.user || q.wp)) ||
      (q.access === ACCESS.FETCH && (nx || (!q.user && us && q.smep)));
    if (denied) return present(1n, 0n);
    set(at, entry | 0x20n | (q.access === ACCESS.WRITE ? 0x40n : 0n));
    let frame = bits(entry, wide ? 51 : 31, shift) << BigInt(shift);
    if (!wide && large) frame |= bits(entry, 20, 13) << 32n;
    return { gpa: frame | bits(q.address, shift - 1, 0) };
  }
}
