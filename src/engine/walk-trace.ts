/** walkTrace: a page walk for people, entry by entry, as the crash report shows it.
 *
 * It says what a walk of an address would meet, without faulting and without setting A or D, and it judges nothing but
 * presence. Follows: SDM Vol. 3, 4.3-4.5.
 * May not: change anything.   Next: engine/halves.ts. */
import { hex } from '../base/numbers.ts';
import { CR0, CR4 } from '../x86/constants.ts';
import type { CpuState } from './cpu-state.ts';
import { PDPTES } from './page-walk.ts';
import { RAM, STATE } from './state.ts';

export type WalkRow = {
  /** PML4E, PDPTE, PDE or PTE. */
  level: string;
  /** Guest-physical address of the entry; undefined for a PDPTE that was loaded with CR3. */
  at: number | undefined;
  value: bigint;
  /** Bits by name, as in "P RW US A D PS"; "not present" when P is clear. */
  flags: string;
};
export type WalkTrace = {
  /** One sentence on the kind of paging. */
  paging: string;
  rows: WalkRow[];
  /** Where the address leads, or why it leads nowhere. */
  gpa: number | undefined;
  end: string;
};

const FLAGS = ['P', 'RW', 'US', 'PWT', 'PCD', 'A', 'D', 'PS', 'G'] as const;
const PRESENT = 1n;
const LARGE = 0x80n;

export function walkTrace(state: CpuState, ramSize: number, address: bigint): WalkTrace {
  if ((state.view.getUint32(STATE.CR0, true) & CR0.PG) === 0) {
    const gpa = Number(address % 0x1_0000_0000n);
    return { paging: 'paging is off', rows: [], gpa, end: `physical ${hex(gpa)}` };
  }
  const cr4 = state.view.getUint32(STATE.CR4, true);
  const pae = (cr4 & CR4.PAE) !== 0;
  const cr3 = state.get64('CR3');
  const rows: WalkRow[] = [];
  const finish = (paging: string, gpa: number | undefined, end: string): WalkTrace => ({ paging, rows, gpa, end });

  const kind = state.longMode ? '4-level' : pae ? 'PAE' : '2-level';
  const paging = `${kind} paging, CR3 ${hex(cr3)}`;
  if (state.longMode && address >> 47n !== 0n && address >> 47n !== 0x1_ffffn) {
    return finish(paging, undefined, 'the address is not canonical');
  }
  const levels = LEVELS[kind];
  let table = Number(pae ? (cr3 / 4096n) % 2n ** 40n : (cr3 / 4096n) % 2n ** 20n) * 4096;
  for (const [level, shift] of levels) {
    const index = Number((address >> BigInt(shift)) % (pae ? 512n : 1024n));
    const loaded = kind === 'PAE' && level === 'PDPTE';
    const at = loaded ? undefined : table + index * (pae ? 8 : 4);
    const value = loaded
      ? state.view.getBigUint64(PDPTES + (index % 4) * 8, true)
      : readEntry(state, ramSize, at as number, pae);
    rows.push({ level, at, value, flags: flagsOf(value, loaded) });
    if ((value & PRESENT) === 0n) return finish(paging, undefined, `${level} is not present`);
    const mayBeLarge = level !== 'PML4E' && !loaded && (pae || (cr4 & CR4.PSE) !== 0);
    const large = shift > 12 && mayBeLarge && (value & LARGE) !== 0n;
    const frame = pae ? (value / 4096n) % 2n ** 40n : (value / 4096n) % 2n ** 20n;
    if (shift === 12 || large) {
      const size = 2n ** BigInt(shift);
      let base = ((frame * 4096n) / size) * size;
      if (large && !pae) base += ((value >> 13n) % 256n) * 2n ** 32n; // PSE-36
      const gpa = Number(base + (address % size));
      return finish(paging, gpa, `physical ${hex(gpa)}${gpa < ramSize ? '' : ', outside RAM'}`);
    }
    table = Number(frame) * 4096;
  }
  return finish(paging, undefined, 'the walk has no leaf');
}

/** Tables from the root, with the shift of their index. */
const LEVELS = {
  '4-level': [['PML4E', 39], ['PDPTE', 30], ['PDE', 21], ['PTE', 12]],
  PAE: [['PDPTE', 30], ['PDE', 21], ['PTE', 12]],
  '2-level': [['PDE', 22], ['PTE', 12]],
} as const; // biome-ignore format: a table

function readEntry(state: CpuState, ramSize: number, at: number, wide: boolean): bigint {
  if (at + (wide ? 8 : 4) > ramSize) return wide ? 0xffff_ffff_ffff_ffffn : 0xffff_ffffn;
  return wide ? state.view.getBigUint64(RAM + at, true) : BigInt(state.view.getUint32(RAM + at, true));
}

function flagsOf(value: bigint, pdpteOfPae: boolean): string {
  if ((value & PRESENT) === 0n) return 'not present';
  const bits = Number(value % 512n);
  const names = FLAGS.filter((name, bit) => (bits & (1 << bit)) !== 0 && !(pdpteOfPae && name !== 'P'));
  return [...names, ...(value >= 2n ** 63n ? ['NX'] : [])].join(' ');
}
