/** CodeFetch: from RIP to a decoded block, through CS's limit, the fetch TLB and the code map.
 *
 * Mostly one page and one lookup. Instructions that cross a page, reach past a limit or lie outside RAM are gathered
 * byte by byte, as many as they need and no more, so that a fault in the second page comes only when it must; what was
 * gathered is compared with what was decoded before, and decoded again when it differs.
 * May not: execute.   Next: engine/helper-insn.ts. */
import { VECTOR } from '../x86/constants.ts';
import type { Blocks } from './blocks.ts';
import type { CpuState } from './cpu-state.ts';
import { MAX_LENGTH } from './decoder.ts';
import type { Mmu } from './mmu.ts';
import { codeSize, MODE } from './mode.ts';
import {
  FETCH_TLB_ENTRIES,
  FETCH_TLB_SUPERVISOR,
  FETCH_TLB_USER,
  RAM,
  SEG,
  SEG_BASE,
  SEG_BYTES,
  STATE,
} from './state.ts';

export class CodeFetch {
  readonly #state: CpuState;
  readonly #view: DataView;
  readonly #mmu: Mmu;
  readonly #blocks: Blocks;
  readonly #ramSize: number;
  readonly #code = new Uint8Array(MAX_LENGTH);
  /** Told before code of a linear page is decoded, and when its translation was not known. */
  onPage: ((linearLow: number, linearHigh: number, page: number) => void) | undefined;

  constructor(state: CpuState, mmu: Mmu, blocks: Blocks, ramSize: number) {
    this.#state = state;
    this.#view = state.view;
    this.#mmu = mmu;
    this.#blocks = blocks;
    this.#ramSize = ramSize;
  }

  /** Block at RIP in the plain form or not, or -1 with the fault in FAULT_*. Sets PAGE_BASE. */
  find(plain: number): number {
    const view = this.#view;
    const mode = view.getInt32(STATE.MODE, true) | plain;
    if ((mode & MODE.CS_LIMITED) !== 0 && this.#pastLimit(0)) return -1;
    const ripLow = view.getInt32(STATE.RIP, true);
    const ripHigh = view.getInt32(STATE.RIP + 4, true);
    const is64 = codeSize(mode) === 64; // elsewhere linear addresses have 32 bits
    const low = is64 ? ripLow : (ripLow + view.getInt32(STATE.SEG + SEG.CS * SEG_BYTES + SEG_BASE, true)) | 0;
    const high = is64 ? ripHigh : 0;
    const page = this.#page(low, high);
    if (page < 0) return -1;
    const offset = low & 0xfff;
    view.setInt32(STATE.PAGE_BASE, ripLow - offset, true);
    view.setInt32(STATE.PAGE_BASE + 4, ripHigh - (ripLow >>> 0 < offset ? 1 : 0), true);
    // Again at each decoding: what lies at a linear address may have become a traced function meanwhile.
    if (page < this.#ramSize) this.onPage?.(low & ~0xfff, high, page);
    if (page >= this.#ramSize || (mode & MODE.CS_LIMITED) !== 0) return this.#gathered(low, high, page, offset, mode);
    return this.#blocks.find(page + offset, mode) ?? this.#gathered(low, high, page, offset, mode);
  }

  linearRip(): bigint {
    const state = this.#state;
    return state.is64 ? state.rip : (state.rip + state.base(SEG.CS)) & 0xffff_ffffn;
  }

  /** Guest-physical page of a linear address for a fetch, through the fetch TLB. */
  #page(low: number, high: number): number {
    const view = this.#view;
    const user = this.#state.cpl === 3;
    const at = (user ? FETCH_TLB_USER : FETCH_TLB_SUPERVISOR) + ((low >>> 12) & (FETCH_TLB_ENTRIES - 1)) * 16;
    if (view.getInt32(at, true) === (low & ~0xfff) && view.getInt32(at + 4, true) === (high | 0)) {
      return view.getUint32(at + 8, true);
    }
    const page = this.#mmu.fetchTranslate(low, high, user);
    if (page >= 0 && page < this.#ramSize) this.onPage?.(low & ~0xfff, high, page);
    if (page >= -1) return page;
    this.#protectionFault(); // not canonical
    return -1;
  }

  #protectionFault(): void {
    this.#view.setInt32(STATE.FAULT_VECTOR, VECTOR.GP, true);
    this.#view.setInt32(STATE.FAULT_ERROR, 0, true);
  }

  #pastLimit(bytes: number): boolean {
    const state = this.#state;
    if (state.rip + BigInt(bytes) <= BigInt(state.limit(SEG.CS))) return false;
    this.#protectionFault();
    return true;
  }

  #byteAt(gpa: number): number {
    return gpa < this.#ramSize ? this.#state.bytes[RAM + gpa] : 0xff;
  }

  /** An instruction whose bytes are not simply a run in one page of RAM. */
  #gathered(low: number, high: number, page: number, offset: number, mode: number): number {
    const blocks = this.#blocks;
    const plain = mode | MODE.PLAIN;
    const code = this.#code;
    const limited = (mode & MODE.CS_LIMITED) !== 0;
    const room = limited
      ? Math.min(MAX_LENGTH, Number(BigInt(this.#state.limit(SEG.CS)) - this.#state.rip) + 1)
      : MAX_LENGTH;
    const here = Math.min(room, 4096 - offset);
    for (let i = 0; i < here; i++) code[i] = this.#byteAt(page + offset + i);
    const known = blocks.gatheredLength(page + offset, plain);
    let length = here;
    // With an instruction known here its length says whether the second page is needed; if the bytes turn out to be
    // other ones, the decoder says.
    const isKnown = known !== undefined && known <= room && blocks.isGathered(page + offset, plain, code, here);
    const isWhole = isKnown ? known <= here : blocks.decodes(code, here, codeSize(mode));
    if (!isWhole) {
      if (here < room) {
        // The page after the last is the first one: of 64 bits, or of 32.
        const next = ((low & ~0xfff) + 0x1000) | 0;
        const second = this.#page(next, next === 0 && this.#state.is64 ? (high + 1) | 0 : high);
        if (second < 0) return -1;
        for (let i = here; i < room; i++) code[i] = this.#byteAt(second + i - here);
        length = room;
      }
      if (!blocks.decodes(code, length, codeSize(mode)) && this.#pastLimit(room)) return -1;
    }
    return blocks.crossing(page + offset, code, length, offset, plain);
  }
}
