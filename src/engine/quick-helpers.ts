/** QuickHelpers: the TypeScript instructions that kernels run most, without a bigint and without the general path.
 *
 * Port accesses where IOPL allows them, INVLPG of a plain address, CLI, STI, CLD, STD, PUSHA and POPA within one page.
 * Anything unusual is left to engine/system, whose result is the same to the bit.
 * May not: fault. What would fault is not quick.   Next: engine/cpu.ts. */
import { CR4, IOPL_SHIFT, RFLAGS } from '../x86/constants.ts';
import type { HelperRecord } from './blocks.ts';
import type { CpuHost } from './core.ts';
import type { CpuState } from './cpu-state.ts';
import type { Mmu } from './mmu.ts';
import { MODE } from './mode.ts';
import type { QuickGates } from './quick-gates.ts';
import { SEG, SEG_BASE, SEG_BYTES, STATE, TLB_BYTES } from './state.ts';

/** What became of it: not done, done, done and device events may have moved, done and RIP set. */
export const QUICK = { NO: 0, DONE: 1, EVENT: 2, JUMPED: 3 } as const;
type Quick = 0 | 1 | 2 | 3;

const RAX = STATE.GPR >> 2;
const RDX = (STATE.GPR + 2 * 8) >> 2;
const RSP = (STATE.GPR + 4 * 8) >> 2;
const CONTROL_REGISTERS: Record<number, number> = { 0: STATE.CR0, 2: STATE.CR2, 3: STATE.CR3, 4: STATE.CR4 };
const FLAT_STACK = MODE.FLAT_SS | MODE.STACK_32;

export class QuickHelpers {
  readonly #i32: Int32Array;
  readonly #view: DataView;
  readonly #host: CpuHost;
  readonly #mmu: Mmu;
  readonly #now: () => number;
  /** Name → what to do. */
  readonly table: Readonly<Record<string, (record: HelperRecord) => Quick>>;

  constructor(
    state: CpuState,
    buffer: ArrayBuffer,
    host: CpuHost,
    mmu: Mmu,
    gates: QuickGates,
    now: () => number,
    hasTsc: boolean,
  ) {
    this.#now = now;
    this.#i32 = new Int32Array(buffer);
    this.#view = state.view;
    this.#host = host;
    this.#mmu = mmu;
    this.table = {
      in: (record) => this.#in(record),
      out: (record) => this.#out(record),
      invlpg: (record) => this.#invlpg(record),
      cli: () => this.#setInterruptFlag(0),
      sti: () => this.#setInterruptFlag(RFLAGS.IF),
      cld: () => this.#setDirection(0),
      std: () => this.#setDirection(RFLAGS.DF),
      pusha: (record) => this.#pusha(record),
      popa: (record) => this.#popa(record),
      mov_from_cr: (record) => this.#movFromCr(record),
      ...(hasTsc ? { rdtsc: () => this.#readTsc() } : {}),
      iret: (record) => (gates.iret(record.operandSize) ? QUICK.JUMPED : QUICK.NO),
      // RIP stands behind the instruction when a quick helper runs.
      int: (record) => {
        const low = this.#i32[STATE.RIP >> 2];
        const high = this.#i32[(STATE.RIP >> 2) + 1];
        return gates.deliver(record.portImmediate, -1, low, high, true, false) ? QUICK.JUMPED : QUICK.NO;
      },
    };
  }

  #mayUsePorts(): boolean {
    const i32 = this.#i32;
    return i32[STATE.CPL >> 2] <= (i32[STATE.SYS_FLAGS >> 2] & RFLAGS.IOPL) >> IOPL_SHIFT;
  }

  #port(record: HelperRecord): number {
    return (record.opcode & 8) === 0 ? record.portImmediate : this.#i32[RDX] & 0xffff;
  }

  #in(record: HelperRecord): Quick {
    if (!this.#mayUsePorts()) return QUICK.NO;
    const size = (record.opcode & 1) === 0 ? 1 : record.operandSize === 2 ? 2 : 4;
    const value = this.#host.portRead(this.#port(record), size);
    if (size === 4) {
      this.#i32[RAX] = value;
      this.#i32[RAX + 1] = 0;
    } else if (size === 2) this.#view.setUint16(STATE.GPR, value, true);
    else this.#view.setUint8(STATE.GPR, value);
    return QUICK.EVENT;
  }

  #out(record: HelperRecord): Quick {
    if (!this.#mayUsePorts()) return QUICK.NO;
    const size = (record.opcode & 1) === 0 ? 1 : record.operandSize === 2 ? 2 : 4;
    const value = this.#i32[RAX];
    this.#host.portWrite(this.#port(record), size, size === 4 ? value >>> 0 : value & (size === 1 ? 0xff : 0xffff));
    return QUICK.EVENT;
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

  #movFromCr(record: HelperRecord): Quick {
    const i32 = this.#i32;
    const from = CONTROL_REGISTERS[record.reg];
    if (i32[STATE.CPL >> 2] !== 0 || from === undefined) return QUICK.NO;
    const is64 = (i32[STATE.MODE >> 2] & MODE.CODE_SIZE) === 2;
    const to = RAX + record.rm * 2;
    i32[to] = i32[from >> 2];
    i32[to + 1] = is64 ? i32[(from >> 2) + 1] : 0;
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

  #setInterruptFlag(flag: number): Quick {
    if (!this.#mayUsePorts()) return QUICK.NO; // the same comparison with IOPL
    const i32 = this.#i32;
    const flags = i32[STATE.SYS_FLAGS >> 2];
    if (flag !== 0 && (flags & RFLAGS.IF) === 0) i32[STATE.SHADOW >> 2] = 1;
    i32[STATE.SYS_FLAGS >> 2] = (flags & ~RFLAGS.IF) | flag;
    return QUICK.DONE;
  }

  #setDirection(flag: number): Quick {
    const i32 = this.#i32;
    i32[STATE.SYS_FLAGS >> 2] = (i32[STATE.SYS_FLAGS >> 2] & ~RFLAGS.DF) | flag;
    return QUICK.DONE;
  }

  /** Index of `bytes` bytes of flat 32-bit stack by the running level's tags, or -1. */
  #stack(low: number, bytes: number, write: boolean): number {
    const i32 = this.#i32;
    if ((i32[STATE.MODE >> 2] & FLAT_STACK) !== FLAT_STACK) return -1;
    if ((low & 3) !== 0 || (low & 0xfff) + bytes > 4096) return -1;
    const entry = (i32[STATE.TLB >> 2] + (write ? TLB_BYTES : 0) + ((low >>> 8) & 0x3ff0)) >> 2;
    if (i32[entry] !== (low & ~0xfff) || i32[entry + 1] !== 0) return -1;
    return ((low + i32[entry + 2]) | 0) >>> 2;
  }

  #pusha(record: HelperRecord): Quick {
    if (record.operandSize !== 4) return QUICK.NO;
    const i32 = this.#i32;
    const to = (i32[RSP] - 32) | 0;
    const at = this.#stack(to, 32, true);
    if (at < 0) return QUICK.NO;
    for (let n = 0; n < 8; n++) i32[at + 7 - n] = i32[RAX + n * 2];
    i32[RSP] = to;
    i32[RSP + 1] = 0;
    return QUICK.DONE;
  }

  #popa(record: HelperRecord): Quick {
    if (record.operandSize !== 4) return QUICK.NO;
    const i32 = this.#i32;
    const from = i32[RSP];
    const at = this.#stack(from, 32, false);
    if (at < 0) return QUICK.NO;
    for (let n = 0; n < 8; n++) {
      if (n === 4) continue; // ESP's word is skipped
      i32[RAX + n * 2] = i32[at + 7 - n];
      i32[RAX + n * 2 + 1] = 0;
    }
    i32[RSP] = (from + 32) | 0;
    i32[RSP + 1] = 0;
    return QUICK.DONE;
  }
}
