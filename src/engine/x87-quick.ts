/** QuickX87: the x87 instructions that programs are made of, with ordinary operands, in 32-bit words.
 *
 * Normal numbers and zeros, errors masked, rounding to nearest in full precision (integers also towards zero), memory
 * behind a present TLB tag, no stack fault. Whatever else there is returns QUICK.NO with nothing changed, and
 * engine/system/x87*.ts does it with x86/float; the result is the same to the bit, which tests hold it to.
 * May not: fault.   Next: engine/x87-words.ts. */
import { CR0, RFLAGS } from '../x86/constants.ts';
import type { HelperRecord } from './blocks.ts';
import { RIP_BASE } from './decoder.ts';
import { MODE } from './mode.ts';
import { REC } from './record.ts';
import { SEG, SEG_BYTES, STATE, TLB_BYTES, TLB_ENTRIES } from './state.ts';
import { FSW, IMAGE, ST } from './system/x87-state.ts';
import { X87Words } from './x87-words.ts';

/** Of quick-helpers.ts. */
const NO = 0;
const DONE = 1;
type Quick = 0 | 1;
type Run = (record: HelperRecord) => Quick;

/** Word indices: control and status; tags and opcode; pointers; selectors; ST(0). */
const WORDS = STATE.FXSAVE >> 2;
const TAGS = WORDS + 1;
const FIP = (STATE.FXSAVE + IMAGE.FIP) >> 2;
const FDP = (STATE.FXSAVE + IMAGE.FDP) >> 2;
const SELECTORS = (STATE.FXSAVE + IMAGE.FCS) >> 2;
const TOP_REGISTER = (STATE.FXSAVE + ST) >> 2;
const NONE = -1;
const { CF, ZF } = RFLAGS;

const FLAT = { [SEG.ES]: MODE.FLAT_ES, [SEG.CS]: MODE.FLAT_CS, [SEG.SS]: MODE.FLAT_SS, [SEG.DS]: MODE.FLAT_DS };

/** Control words with every exception masked; and with precision and rounding as nearly everyone has them. */
const MASKED = 0x3f;
const MODES = 0xf3f;
const USUAL = 0x33f;
const ROUNDING = 0xc00;

export class QuickX87 {
  readonly #i32: Int32Array;
  readonly #view: DataView;
  readonly table: Readonly<Record<string, Run>>;
  /** The number at hand, and what a calculation made of it. */
  readonly #n = new X87Words();
  /** The operand in memory. */
  #addressLow = 0;
  #addressHigh = 0;

  constructor(buffer: ArrayBuffer) {
    this.#i32 = new Int32Array(buffer);
    this.#view = new DataView(buffer);
    this.table = {
      fld_m32: (record) => this.#loadFloat(record, 4),
      fld_m64: (record) => this.#loadFloat(record, 8),
      fld_m80: (record) => this.#loadExtended(record),
      fild_m16: (record) => this.#loadInteger(record, 2),
      fild_m32: (record) => this.#loadInteger(record, 4),
      fild_m64: (record) => this.#loadInteger(record, 8),
      fld1: (record) => this.#loadConstant(record, 0x3fff, 0x8000_0000 | 0),
      fldz: (record) => this.#loadConstant(record, 0, 0),
      fld_sti: (record) => this.#loadRegister(record),
      fst_m32: (record) => this.#storeFloat(record, 4, false),
      fstp_m32: (record) => this.#storeFloat(record, 4, true),
      fst_m64: (record) => this.#storeFloat(record, 8, false),
      fstp_m64: (record) => this.#storeFloat(record, 8, true),
      fstp_m80: (record) => this.#storeExtended(record),
      fist_m32: (record) => this.#storeInteger(record, 4, false),
      fistp_m32: (record) => this.#storeInteger(record, 4, true),
      fistp_m64: (record) => this.#storeInteger(record, 8, true),
      fst_sti: (record) => this.#storeRegister(record, false),
      fstp_sti: (record) => this.#storeRegister(record, true),
      fxch_sti: (record) => this.#exchange(record),
      fchs: (record) => this.#changeSign(record, 0x8000, 0xffff),
      fabs: (record) => this.#changeSign(record, 0, 0x7fff),
      fnstcw: (record) => this.#storeControl(record),
      fldcw: (record) => this.#loadControl(record),
      fnstsw_ax: () => this.#statusToAx(),
      fwait: () => (this.#ready(0, 0) ? DONE : NO),
      ...this.#arithmetic('add', (...n) => this.#n.add(...n, 0)),
      ...this.#arithmetic('sub', (...n) => this.#n.add(...n, 0x8000)),
      ...this.#arithmetic('mul', (...n) => this.#n.multiply(...n)),
      ...this.#arithmetic('div', (...n) => this.#n.divide(...n)),
      fsqrt: (record) => this.#squareRoot(record),
      fcom_sti: (record) => this.#compareToStatus(record, 0),
      fcomp_sti: (record) => this.#compareToStatus(record, 1),
      fcompp: (record) => this.#compareToStatus(record, 2),
      fucom_sti: (record) => this.#compareToStatus(record, 0),
      fucomp_sti: (record) => this.#compareToStatus(record, 1),
      fucompp: (record) => this.#compareToStatus(record, 2),
      fcomi_sti: (record) => this.#compare(record, false),
      fcomip_sti: (record) => this.#compare(record, true),
      fucomi_sti: (record) => this.#compare(record, false),
      fucomip_sti: (record) => this.#compare(record, true),
    };
  }

  // ---- What is around an instruction

  /** Neither #NM nor #MF is due, and the control word is one of ours. */
  #ready(mask: number, value: number): boolean {
    const i32 = this.#i32;
    const words = i32[WORDS];
    return (
      (words & mask) === value && ((words >>> 16) & FSW.ES) === 0 && (i32[STATE.CR0 >> 2] & (CR0.EM | CR0.TS)) === 0
    );
  }
  #isEmpty(i: number): boolean {
    const i32 = this.#i32;
    return ((i32[TAGS] >> (((i32[WORDS] >>> 27) + i) & 7)) & 1) === 0;
  }

  /** Pointers of this instruction, and the status it leaves: C1 and PE anew. */
  #note(record: HelperRecord, flags: number): void {
    const i32 = this.#i32;
    const current = i32[STATE.CURRENT >> 2];
    const base = i32[STATE.PAGE_BASE >> 2];
    const low = (base + this.#view.getUint16(current + REC.OFFSET, true)) | 0;
    const carry = low >>> 0 < base >>> 0 ? 1 : 0;
    i32[FIP] = low;
    i32[FIP + 1] = (i32[(STATE.PAGE_BASE >> 2) + 1] + carry) & i32[(STATE.RIP_MASK >> 2) + 1];
    const fop = ((record.opcode & 7) << 8) | (record.mod << 6) | ((record.reg & 7) << 3) | (record.rm & 7);
    i32[TAGS] = (i32[TAGS] & 0xffff) | (fop << 16);
    const cs = i32[(STATE.SEG + SEG.CS * SEG_BYTES) >> 2] & 0xffff;
    if (record.isMemory) {
      i32[FDP] = this.#addressLow;
      i32[FDP + 1] = this.#addressHigh;
      i32[SELECTORS] = cs | (i32[(STATE.SEG + record.segment * SEG_BYTES) >> 2] << 16);
    } else i32[SELECTORS] = (i32[SELECTORS] & ~0xffff) | cs;
    i32[WORDS] = (i32[WORDS] & ~(FSW.C1 << 16)) | (flags << 16);
  }

  /** Where the operand lies in our memory, by the tags of ordinary accesses; NONE without one. */
  #locate(record: HelperRecord, bytes: number, write: boolean): number {
    const i32 = this.#i32;
    const { base, index, scale, displacement, segment, addressBits } = record;
    const mode = i32[STATE.MODE >> 2];
    const is64 = (mode & MODE.CODE_SIZE) === 2;
    if (addressBits !== (is64 ? 64 : 32)) return NONE;
    if (segment >= SEG.FS || (mode & FLAT[segment as 0 | 1 | 2 | 3]) === 0) return NONE;
    if (segment === SEG.CS && write) return NONE;
    let low = 0;
    let high = 0;
    if (base === RIP_BASE) {
      const current = i32[STATE.CURRENT >> 2];
      const page = i32[STATE.PAGE_BASE >> 2] >>> 0;
      const next = page + this.#view.getUint16(current + REC.OFFSET, true) + record.length;
      low = next | 0;
      high = i32[(STATE.PAGE_BASE >> 2) + 1] + (next >= 0x1_0000_0000 ? 1 : 0);
    } else if (base >= 0) {
      low = i32[(STATE.GPR >> 2) + 2 * base];
      high = i32[(STATE.GPR >> 2) + 2 * base + 1];
    }
    let sum = (low >>> 0) + (displacement >>> 0);
    high += displacement >> 31;
    if (index >= 0) {
      const indexLow = i32[(STATE.GPR >> 2) + 2 * index];
      const indexHigh = i32[(STATE.GPR >> 2) + 2 * index + 1];
      sum += (indexLow << scale) >>> 0;
      high += (indexHigh << scale) | (scale === 0 ? 0 : indexLow >>> (32 - scale));
    }
    low = sum | 0;
    high = is64 ? (high + Math.floor(sum / 0x1_0000_0000)) | 0 : 0;
    if ((low & 0xfff) + bytes > 4096) return NONE;
    this.#addressLow = low;
    this.#addressHigh = high;
    const table = i32[STATE.TLB >> 2] + (write ? TLB_BYTES : 0);
    const entry = (table + ((low >>> 12) & (TLB_ENTRIES - 1)) * 16) >> 2;
    if (i32[entry] !== (low & ~0xfff) || i32[entry + 1] !== high) return NONE;
    return (low + i32[entry + 2]) >>> 0;
  }

  // ---- The stack

  /** The result in the fields, on top of the stack. */
  #push(): void {
    const i32 = this.#i32;
    const words = i32[WORDS];
    const top = ((words >>> 27) + 7) & 7;
    i32[WORDS] = (words & ~(FSW.TOP << 16)) | (top << 27);
    i32[TAGS] |= 1 << top;
    i32.copyWithin(TOP_REGISTER + 4, TOP_REGISTER, TOP_REGISTER + 28);
    this.#put(0);
  }
  #put(i: number): void {
    const at = TOP_REGISTER + 4 * i;
    this.#i32[at] = this.#n.low;
    this.#i32[at + 1] = this.#n.high;
    this.#i32[at + 2] = this.#n.se;
  }
  #pop(): void {
    const i32 = this.#i32;
    const words = i32[WORDS];
    const top = (words >>> 27) & 7;
    i32[TAGS] &= ~(1 << top);
    i32[WORDS] = (words & ~(FSW.TOP << 16)) | (((top + 1) & 7) << 27);
    const low = i32[TOP_REGISTER];
    const high = i32[TOP_REGISTER + 1];
    const se = i32[TOP_REGISTER + 2];
    i32.copyWithin(TOP_REGISTER, TOP_REGISTER + 4, TOP_REGISTER + 32);
    i32[TOP_REGISTER + 28] = low;
    i32[TOP_REGISTER + 29] = high;
    i32[TOP_REGISTER + 30] = se;
  }
  /** A register that is a normal number or a zero. */
  #isPlain(i: number): boolean {
    const i32 = this.#i32;
    const at = TOP_REGISTER + 4 * i;
    const exponent = i32[at + 2] & 0x7fff;
    if (exponent === 0) return i32[at] === 0 && i32[at + 1] === 0;
    return exponent !== 0x7fff && i32[at + 1] < 0;
  }

  // ---- Loads

  /** A number of 32 or 64 bits into the fields; false when it is not plain. */
  #decode(at: number, bytes: 4 | 8): boolean {
    const view = this.#view;
    if (bytes === 4) {
      const word = view.getInt32(at, true);
      const exponent = (word >>> 23) & 0xff;
      if (exponent === 0xff || (exponent === 0 && word << 1 !== 0)) return false;
      this.#n.se = ((word >>> 16) & 0x8000) | (exponent === 0 ? 0 : exponent - 127 + 16383);
      this.#n.high = exponent === 0 ? 0 : 0x8000_0000 | (word << 8);
      this.#n.low = 0;
      return true;
    }
    const low = view.getInt32(at, true);
    const word = view.getInt32(at + 4, true);
    const exponent = (word >>> 20) & 0x7ff;
    if (exponent === 0x7ff || (exponent === 0 && (word << 1 !== 0 || low !== 0))) return false;
    this.#n.se = ((word >>> 16) & 0x8000) | (exponent === 0 ? 0 : exponent - 1023 + 16383);
    this.#n.high = exponent === 0 ? 0 : 0x8000_0000 | (word << 11) | (low >>> 21);
    this.#n.low = low << 11;
    return true;
  }
  #loadFloat(record: HelperRecord, bytes: 4 | 8): Quick {
    if (!this.#ready(0, 0) || !this.#isEmpty(7)) return NO;
    const at = this.#locate(record, bytes, false);
    if (at === NONE || !this.#decode(at, bytes)) return NO;
    this.#note(record, 0);
    this.#push();
    return DONE;
  }
  #loadExtended(record: HelperRecord): Quick {
    if (!this.#ready(0, 0) || !this.#isEmpty(7)) return NO;
    const at = this.#locate(record, 10, false);
    if (at === NONE) return NO;
    this.#n.low = this.#view.getInt32(at, true);
    this.#n.high = this.#view.getInt32(at + 4, true);
    this.#n.se = this.#view.getUint16(at + 8, true);
    this.#note(record, 0);
    this.#push();
    return DONE;
  }
  #loadInteger(record: HelperRecord, bytes: 2 | 4 | 8): Quick {
    if (!this.#ready(0, 0) || !this.#isEmpty(7)) return NO;
    const at = this.#locate(record, bytes, false);
    if (at === NONE) return NO;
    this.#decodeInteger(at, bytes);
    this.#note(record, 0);
    this.#push();
    return DONE;
  }
  #decodeInteger(at: number, bytes: 2 | 4 | 8): boolean {
    const view = this.#view;
    let low = bytes === 2 ? view.getInt16(at, true) : view.getInt32(at, true);
    let high = bytes === 8 ? view.getInt32(at + 4, true) : low >> 31;
    const sign = (high >>> 16) & 0x8000;
    if (sign !== 0) {
      low = -low | 0;
      high = low === 0 ? -high | 0 : ~high;
    }
    this.#n.normalise(sign, 16383 + 63, high, low);
    return true;
  }
  #loadConstant(record: HelperRecord, se: number, high: number): Quick {
    if (!this.#ready(0, 0) || !this.#isEmpty(7)) return NO;
    this.#n.se = se;
    this.#n.high = high;
    this.#n.low = 0;
    this.#note(record, 0);
    this.#push();
    return DONE;
  }
  #take(i: number): void {
    const at = TOP_REGISTER + 4 * i;
    this.#n.low = this.#i32[at];
    this.#n.high = this.#i32[at + 1];
    this.#n.se = this.#i32[at + 2] & 0xffff;
  }
  #loadRegister(record: HelperRecord): Quick {
    const i = record.rm & 7;
    if (!this.#ready(0, 0) || !this.#isEmpty(7) || this.#isEmpty(i)) return NO;
    this.#take(i);
    this.#note(record, 0);
    this.#push();
    return DONE;
  }

  // ---- Stores

  #storeFloat(record: HelperRecord, bytes: 4 | 8, pops: boolean): Quick {
    if (!this.#ready(ROUNDING | MASKED, MASKED) || this.#isEmpty(0) || !this.#isPlain(0)) return NO;
    const at = this.#locate(record, bytes, true);
    if (at === NONE) return NO;
    this.#take(0);
    const sign = (this.#n.se & 0x8000) << 16;
    let exponent = (this.#n.se & 0x7fff) - 16383 + (bytes === 8 ? 1023 : 127);
    let high = 0;
    let low = 0;
    let flags = 0;
    if ((this.#n.se & 0x7fff) === 0) exponent = 0;
    else {
      if (exponent < 1) return NO;
      // The fraction to the right, without the integer bit, and what is rounded away to the left.
      let rest: number;
      if (bytes === 8) {
        high = (this.#n.high & 0x7fff_ffff) >>> 11;
        low = (this.#n.high << 21) | (this.#n.low >>> 11);
        rest = this.#n.low << 21;
      } else {
        low = (this.#n.high & 0x7fff_ffff) >>> 8;
        rest = (this.#n.high << 24) | (this.#n.low >>> 8) | ((this.#n.low & 0xff) === 0 ? 0 : 1);
      }
      if (rest !== 0) {
        const up = rest < 0 && (rest !== 0x8000_0000 >> 0 || (low & 1) !== 0);
        flags = up ? FSW.PE | FSW.C1 : FSW.PE;
        if (up) {
          low = (low + 1) | 0;
          if (bytes === 8 && low === 0) high++;
        }
        // A carry out of the fraction is one into the exponent.
        if (bytes === 8 ? high === 0x10_0000 : low === 0x80_0000) {
          high = 0;
          low = 0;
          exponent++;
        }
      }
      if (exponent > (bytes === 8 ? 2046 : 254)) return NO;
    }
    if (bytes === 8) {
      this.#view.setInt32(at, low, true);
      this.#view.setInt32(at + 4, sign | (exponent << 20) | high, true);
    } else this.#view.setInt32(at, sign | (exponent << 23) | low, true);
    this.#note(record, flags);
    if (pops) this.#pop();
    return DONE;
  }
  #storeExtended(record: HelperRecord): Quick {
    if (!this.#ready(0, 0) || this.#isEmpty(0)) return NO;
    const at = this.#locate(record, 10, true);
    if (at === NONE) return NO;
    this.#take(0);
    this.#view.setInt32(at, this.#n.low, true);
    this.#view.setInt32(at + 4, this.#n.high, true);
    this.#view.setUint16(at + 8, this.#n.se, true);
    this.#note(record, 0);
    this.#pop();
    return DONE;
  }
  /** To nearest, or towards zero as C's casts ask for. */
  #storeInteger(record: HelperRecord, bytes: 4 | 8, pops: boolean): Quick {
    const control = this.#i32[WORDS];
    const truncates = (control & ROUNDING) === ROUNDING;
    if (!truncates && (control & ROUNDING) !== 0) return NO;
    if (!this.#ready(MASKED, MASKED) || this.#isEmpty(0) || !this.#isPlain(0)) return NO;
    const at = this.#locate(record, bytes, true);
    if (at === NONE) return NO;
    this.#take(0);
    const exponent = (this.#n.se & 0x7fff) - 16383;
    if (exponent >= 8 * bytes - 2) return NO;
    let flags = 0;
    let high = 0;
    let low = 0;
    if (this.#n.high !== 0) {
      const rest = this.#n.shiftRight(Math.min(63 - exponent, 66), this.#n.high, this.#n.low);
      high = this.#n.high;
      low = this.#n.low;
      if (rest !== 0) {
        const up = !truncates && rest < 0 && (rest !== 0x8000_0000 >> 0 || (low & 1) !== 0);
        flags = up ? FSW.PE | FSW.C1 : FSW.PE;
        if (up) {
          low = (low + 1) | 0;
          if (low === 0) high++;
        }
      }
      if ((this.#n.se & 0x8000) !== 0) {
        low = -low | 0;
        high = low === 0 ? -high | 0 : ~high;
      }
    }
    this.#view.setInt32(at, low, true);
    if (bytes === 8) this.#view.setInt32(at + 4, high, true);
    this.#note(record, flags);
    if (pops) this.#pop();
    return DONE;
  }
  #storeRegister(record: HelperRecord, pops: boolean): Quick {
    if (!this.#ready(0, 0) || this.#isEmpty(0)) return NO;
    const i = record.rm & 7;
    const i32 = this.#i32;
    this.#take(0);
    this.#note(record, 0);
    this.#put(i);
    i32[TAGS] |= 1 << (((i32[WORDS] >>> 27) + i) & 7);
    if (pops) this.#pop();
    return DONE;
  }
  #exchange(record: HelperRecord): Quick {
    const i = record.rm & 7;
    if (!this.#ready(0, 0) || this.#isEmpty(0) || this.#isEmpty(i)) return NO;
    const i32 = this.#i32;
    this.#take(i);
    i32.copyWithin(TOP_REGISTER + 4 * i, TOP_REGISTER, TOP_REGISTER + 3);
    this.#put(0);
    this.#note(record, 0);
    return DONE;
  }
  #changeSign(record: HelperRecord, flip: number, keep: number): Quick {
    if (!this.#ready(0, 0) || this.#isEmpty(0)) return NO;
    this.#i32[TOP_REGISTER + 2] = (this.#i32[TOP_REGISTER + 2] ^ flip) & keep;
    this.#note(record, 0);
    return DONE;
  }

  // ---- The control word: no x87 pointer moves

  #storeControl(record: HelperRecord): Quick {
    if ((this.#i32[STATE.CR0 >> 2] & (CR0.EM | CR0.TS)) !== 0) return NO;
    const at = this.#locate(record, 2, true);
    if (at === NONE) return NO;
    this.#view.setUint16(at, this.#i32[WORDS], true);
    return DONE;
  }
  #loadControl(record: HelperRecord): Quick {
    if (!this.#ready(0, 0)) return NO;
    const at = this.#locate(record, 2, false);
    if (at === NONE) return NO;
    const value = this.#view.getUint16(at, true);
    if ((value & MASKED) !== MASKED) return NO;
    this.#i32[WORDS] = (this.#i32[WORDS] & ~0xffff) | (value & 0x1f3f) | 0x40;
    return DONE;
  }

  #statusToAx(): Quick {
    if ((this.#i32[STATE.CR0 >> 2] & (CR0.EM | CR0.TS)) !== 0) return NO;
    const rax = STATE.GPR >> 2;
    this.#i32[rax] = (this.#i32[rax] & ~0xffff) | (this.#i32[WORDS] >>> 16);
    return DONE;
  }

  // ---- Arithmetic

  #arithmetic(
    name: string,
    operation: (ase: number, ah: number, al: number, bse: number, bh: number, bl: number) => boolean,
  ): Record<string, Run> {
    const i32 = this.#i32;
    /** a op b, both in words; the result goes to ST(to). */
    const withMemory =
      (bytes: 2 | 4 | 8, integer: boolean, reversed: boolean): Run =>
      (record) => {
        if (!this.#ready(MODES, USUAL) || this.#isEmpty(0) || !this.#isPlain(0)) return NO;
        const at = this.#locate(record, bytes, false);
        if (at === NONE) return NO;
        if (!(integer || bytes === 2 ? this.#decodeInteger(at, bytes) : this.#decode(at, bytes))) return NO;
        const se = i32[TOP_REGISTER + 2] & 0xffff;
        const high = i32[TOP_REGISTER + 1];
        const low = i32[TOP_REGISTER];
        const done = reversed
          ? operation(this.#n.se, this.#n.high, this.#n.low, se, high, low)
          : operation(se, high, low, this.#n.se, this.#n.high, this.#n.low);
        if (!done) return NO;
        this.#put(0);
        this.#note(record, this.#n.flags);
        return DONE;
      };
    const withRegister =
      (toTop: boolean, reversed: boolean, pops: boolean): Run =>
      (record) => {
        const i = record.rm & 7;
        if (!this.#ready(MODES, USUAL) || this.#isEmpty(0) || this.#isEmpty(i)) return NO;
        if (!this.#isPlain(0) || !this.#isPlain(i)) return NO;
        // ST(0) first, unless the result is another register's or the order is turned round.
        const topFirst = toTop !== reversed;
        const a = TOP_REGISTER + (topFirst ? 0 : 4 * i);
        const b = TOP_REGISTER + (topFirst ? 4 * i : 0);
        const done = operation(i32[a + 2] & 0xffff, i32[a + 1], i32[a], i32[b + 2] & 0xffff, i32[b + 1], i32[b]);
        if (!done) return NO;
        this.#put(toTop ? 0 : i);
        this.#note(record, this.#n.flags);
        if (pops) this.#pop();
        return DONE;
      };
    const forms = (reversed: boolean): Record<string, Run> => {
      const r = reversed ? 'r' : '';
      return {
        [`f${name}${r}_m32`]: withMemory(4, false, reversed),
        [`f${name}${r}_m64`]: withMemory(8, false, reversed),
        [`fi${name}${r}_m16`]: withMemory(2, true, reversed),
        [`fi${name}${r}_m32`]: withMemory(4, true, reversed),
        [`f${name}${r}_st0`]: withRegister(true, reversed, false),
        [`f${name}${r}_sti`]: withRegister(false, reversed, false),
        [`f${name}${r}p_sti`]: withRegister(false, reversed, true),
      };
    };
    return { ...forms(false), ...(name === 'sub' || name === 'div' ? forms(true) : {}) };
  }

  #squareRoot(record: HelperRecord): Quick {
    if (!this.#ready(MODES, USUAL) || this.#isEmpty(0) || !this.#isPlain(0)) return NO;
    this.#take(0);
    if ((this.#n.se & 0x8000) !== 0) return NO;
    if (!this.#n.squareRoot()) return NO;
    this.#put(0);
    this.#note(record, this.#n.flags);
    return DONE;
  }

  // ---- Comparisons

  /** ST(0) with ST(i), both plain: less (-1), equal, or greater. */
  #order(i: number): number {
    const i32 = this.#i32;
    const b = TOP_REGISTER + 4 * i;
    const ase = i32[TOP_REGISTER + 2] & 0xffff;
    const bse = i32[b + 2] & 0xffff;
    if (i32[TOP_REGISTER + 1] === 0 && i32[b + 1] === 0) return 0;
    const negative = (ase & 0x8000) !== 0;
    if (negative !== ((bse & 0x8000) !== 0)) return negative ? -1 : 1;
    const size =
      (ase & 0x7fff) - (bse & 0x7fff) ||
      (i32[TOP_REGISTER + 1] >>> 0) - (i32[b + 1] >>> 0) ||
      (i32[TOP_REGISTER] >>> 0) - (i32[b] >>> 0);
    return negative ? -size : size;
  }
  #comparable(i: number): boolean {
    return this.#ready(0, 0) && !this.#isEmpty(0) && !this.#isEmpty(i) && this.#isPlain(0) && this.#isPlain(i);
  }

  /** ZF, PF and CF; C1 stays. */
  #compare(record: HelperRecord, pops: boolean): Quick {
    const i = record.rm & 7;
    if (!this.#comparable(i)) return NO;
    const i32 = this.#i32;
    const order = this.#order(i);
    this.#note(record, (i32[WORDS] >>> 16) & FSW.C1);
    // Flags as they are when none is left to work out: FLAG_R says neither ZF, SF nor PF.
    i32[STATE.FLAG_BITS >> 2] = order === 0 ? ZF : order < 0 ? CF : 0;
    i32[STATE.FLAG_R >> 2] = 1;
    i32[(STATE.FLAG_R >> 2) + 1] = 0;
    if (pops) this.#pop();
    return DONE;
  }
  /** C3, C2 and C0. */
  #compareToStatus(record: HelperRecord, pops: 0 | 1 | 2): Quick {
    const i = record.rm & 7;
    if (!this.#comparable(i)) return NO;
    const order = this.#order(i);
    const i32 = this.#i32;
    i32[WORDS] &= ~((FSW.C3 | FSW.C2 | FSW.C0) << 16);
    this.#note(record, order === 0 ? FSW.C3 : order < 0 ? FSW.C0 : 0);
    if (pops > 0) this.#pop();
    if (pops > 1) this.#pop();
    return DONE;
  }
}
