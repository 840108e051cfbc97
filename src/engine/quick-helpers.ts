/** QuickHelpers: frequent instructions that need TypeScript's tables, without a bigint and without the general path.
 *
 * INVLPG of a plain address, RDTSC, and INT n and IRET between levels. Anything unusual is left to engine/system, whose
 * result is the same to the bit. What needs no table of ours is done by the core (engine/emit/quick.ts).
 * May not: fault. What would fault is not quick.   Next: engine/peek.ts. */
import { CR4 } from '../x86/constants.ts';
import type { HelperRecord } from './blocks.ts';
import type { Mmu } from './mmu.ts';
import { MODE } from './mode.ts';
import type { QuickGates } from './quick-gates.ts';
import { SEG, SEG_BASE, SEG_BYTES, STATE } from './state.ts';
import { QuickX87 } from './x87-quick.ts';

/** What became of it: not done, done, done and RIP set. */
export const QUICK = { NO: 0, DONE: 1, JUMPED: 2 } as const;
type Quick = 0 | 1 | 2;

const RAX = STATE.GPR >> 2;
const RDX = (STATE.GPR + 2 * 8) >> 2;

export class QuickHelpers {
  readonly #i32: Int32Array;
  readonly #mmu: Mmu;
  readonly #now: () => number;
  /** Name → what to do. */
  readonly table: Readonly<Record<string, (record: HelperRecord) => Quick>>;

  constructor(buffer: ArrayBuffer, mmu: Mmu, gates: QuickGates, now: () => number, hasTsc: boolean) {
    this.#now = now;
    this.#i32 = new Int32Array(buffer);
    this.#mmu = mmu;
    this.table = {
      ...new QuickX87(buffer).table,
      invlpg: (record) => this.#invlpg(record),
      ...(hasTsc ? { rdtsc: () => this.#readTsc() } : {}),
      iret: (record) => (gates.iret(record.operandSize) ? QUICK.JUMPED : QUICK.NO),
      // RIP stands behind the instruction when a quick helper runs.
      int: (record) => {
        const low = this.#i32[STATE.RIP >> 2];
        const high = this.#i32[(STATE.RIP >> 2) + 1];
        return gates.deliver(record.vector, -1, low, high, true, false) ? QUICK.JUMPED : QUICK.NO;
      },
    };
  }

  #invlpg(record: HelperRecord): Quick {
    const i32 = this.#i32;
    const { base, index, displacement, segment } = record;
    if (i32[STATE.CPL >> 2] !== 0 || index >= 0 || base > 15 || record.addressSize < 4) return QUICK.NO;
    const is64 = (i32[STATE.MODE >> 2] & MODE.CODE_SIZE) === 2;
    if (
      is64
        ? segment >= SEG.FS || record.addressSize !== 8
        : i32[(STATE.SEG + segment * SEG_BYTES + SEG_BASE) >> 2] !== 0
    ) {
      return QUICK.NO;
    }
    const baseLow = base < 0 ? 0 : i32[(STATE.GPR >> 2) + base * 2];
    const baseHigh = base < 0 ? 0 : i32[(STATE.GPR >> 2) + base * 2 + 1];
    const low = (baseLow + displacement) | 0;
    const carry = low >>> 0 < baseLow >>> 0 ? 1 : 0;
    const high = is64 ? (baseHigh + (displacement >> 31) + carry) | 0 : 0;
    this.#mmu.flushPage(low, high);
    return QUICK.DONE;
  }

  /** RDTSC where the offset is zero: virtual time is far below 2^53. */
  #readTsc(): Quick {
    const i32 = this.#i32;
    const offset = STATE.TSC_OFFSET >> 2;
    if ((i32[offset] | i32[offset + 1]) !== 0) return QUICK.NO;
    if (i32[STATE.CPL >> 2] !== 0 && (i32[STATE.CR4 >> 2] & CR4.TSD) !== 0) return QUICK.NO;
    const now = this.#now();
    i32[RAX] = now;
    i32[RAX + 1] = 0;
    i32[RDX] = Math.floor(now / 0x1_0000_0000);
    i32[RDX + 1] = 0;
    return QUICK.DONE;
  }
}
