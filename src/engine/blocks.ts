/** Blocks: code bytes become records, and the records stay valid for as long as the bytes do.
 *
 * A block is decoded once per physical address and mode word, up to a jump, a TypeScript instruction, the page's end or
 * 64 instructions. The code map knows which bytes of which frame lie in blocks; every write that reaches such bytes,
 * through whatever alias, drops those blocks; an instruction that writes to its own block runs again, alone.
 * May not: walk page tables or set accessed bits ahead of execution.   Next: engine/fault-log.ts. */

import { int32s, misfit, type Saved } from '../base/saved.ts';
import { BIT_STRING } from '../x86/isa/bits.ts';
import { CONDITIONS, type Form } from '../x86/isa/types.ts';
import type { HelperInsn } from './core.ts';
import { coreHandlers } from './core-bytes.ts';
import { type Decoded, Decoder, NONE, RIP_BASE } from './decoder.ts';
import { SLOW } from './mmu.ts';
import { codeSize, MODE } from './mode.ts';
import { BLOCK, HEADER_BYTES, REC, RECORD_BYTES, SPECIAL } from './record.ts';
import {
  BLOCK_TABLE,
  BLOCK_TABLE_ENTRIES,
  BLOCKS,
  BLOCKS_END,
  COUNTERS,
  RAM,
  SEG,
  SEG_BASE,
  SEG_BYTES,
  SEG_SELECTOR,
  STATE,
} from './state.ts';
import { describe, isNop, type Operand, type Variant } from './variants.ts';
import { describeVector, type VectorVariant, vectorShell } from './vector-variants.ts';

/** The address of a block that stands for one of before a snapshot. */
const NO_RECORDS = 0;
const MAX_INSTRUCTIONS = 64;
const MAX_RECORDS = 2 * MAX_INSTRUCTIONS + 2;
const MAX_BLOCK_BYTES = HEADER_BYTES + MAX_RECORDS * RECORD_BYTES;
/** A block of one instruction: its step, its record, its end. */
const GATHERED_BYTES = HEADER_BYTES + 5 * RECORD_BYTES;

/** The address step's EXTRA: what TypeScript must check, and above BIT_WIDTH the width of a bit string's words. */
export const STEP = { SIZE: 0xff, WRITE: 0x100, BIT_WIDTH: 16 } as const;

/** Control registers that MOV from CR may read without a question. */
const CONTROL_REGISTERS: Record<number, number> = { 0: STATE.CR0, 2: STATE.CR2, 3: STATE.CR3, 4: STATE.CR4 };

/** What a TypeScript instruction is: its helper's name and its operands as decoded. */
export type HelperRecord = Omit<HelperInsn, 'rip' | 'nextRip' | 'offset'> & {
  helper: string;
  form: Form | undefined;
  operandBits: 16 | 32 | 64;
  addressBits: 16 | 32 | 64;
  /** The memory operand. */
  base: number;
  index: number;
  scale: number;
  displacement: number;
  rex: number;
  /** Vector of INT n. */
  vector: number;
  /** The quick way to run it, looked up at its first turn; null when there is none. */
  quick?: ((record: HelperRecord) => number) | null;
};

type Block = { address: number; start: number; end: number; mode: number; links: number; valid: boolean };
type Frame = { blocks: Block[]; low: number; high: number };

/** A variant as the builder needs it, cached per form and sizes. */
type Lowered = {
  variant: Variant;
  loud: number;
  quiet: number;
  /** The same for a memory operand without an index. */
  loudBased: number;
  quietBased: number;
  kills: number;
  writes: number;
  reads: number;
  faults: boolean;
  shape: Shape;
};

/** What a record needs to know of a variant's operands, asked once: blocks are made by the hundred thousand. */
type Shape = {
  /** Register operands that stand in the record. */
  registers: readonly Operand[];
  memory: boolean;
  /** Bytes of the memory operand. */
  bytes: number;
  stores: boolean;
  bitString: boolean;
};

function shapeOf({ operands, op }: Variant): Shape {
  const memory = operands.find((o) => o.kind === 'M');
  return {
    registers: operands.filter((o) => o.kind === 'R' && o.field !== 'CL'),
    memory: memory !== undefined,
    bytes: (memory?.width ?? 8) / 8,
    stores: memory !== undefined && /w/.test(memory.access),
    bitString: BIT_STRING.includes(op) && operands[1].kind === 'R',
  };
}

const FLAG_LETTERS: Record<string, number> = { C: 1, P: 4, A: 16, Z: 64, S: 128, O: 0x800 };
const mask = (letters = ''): number => [...letters].reduce((sum, letter) => sum | FLAG_LETTERS[letter], 0);
const ALL_FLAGS = 0x8d5;
const SIZE_INDEX: Record<number, number> = { 16: 0, 32: 1, 64: 2 };

export class Blocks {
  readonly decoder: Decoder;
  private readonly view: DataView;
  private readonly bytes: Uint8Array;
  private readonly words: Int32Array;
  private readonly ramSize: number;
  private readonly lowered = new Map<number, Lowered>();
  private readonly exact = new Map<number, Block>();
  private readonly frames = new Map<number, Frame>();
  private helpers: HelperRecord[] = [];
  /** Instructions that were gathered from more than one page, by address and mode, and their bytes. */
  private readonly gathered = new Map<number, { code: Uint8Array; address: number }>();
  private readonly window = new Uint8Array(4096 + 32);
  private top = BLOCKS;
  private decoded = 0;
  /** Every row with a meaning is evaluated over bigint instead of run by its code. */
  private readonly byReference: boolean;
  /** Called when a frame gets its first block. */
  private readonly frameHasCode: (gpaPage: number) => void;
  /** Page offsets at which a block must begin with a stop. */
  private stops: Set<number> = new Set();
  private readonly starts = new Map<number, ReadonlyMap<number, number>>();

  constructor(
    buffer: ArrayBuffer,
    ramSize: number,
    shows: (feature: string) => boolean,
    frameHasCode: (gpaPage: number) => void,
    byReference = false,
  ) {
    this.byReference = byReference;
    this.view = new DataView(buffer);
    this.bytes = new Uint8Array(buffer);
    this.words = new Int32Array(buffer);
    this.ramSize = ramSize;
    this.decoder = new Decoder(shows);
    this.frameHasCode = frameHasCode;
  }

  helper(index: number): HelperRecord {
    return this.helpers[index];
  }

  hasCode(gpaPage: number): boolean {
    return this.frames.has(gpaPage);
  }

  /** How much has been decoded so far, for tests and measurements. */
  get statistics(): { blocks: number; helpers: number } {
    return { blocks: this.decoded, helpers: this.helpers.length };
  }

  /** Drops everything: when the space is full, when breakpoints change. Guests cannot see it. */
  clear(): void {
    this.exact.clear();
    this.frames.clear();
    this.helpers = [];
    this.top = BLOCKS;
    this.gathered.clear();
    this.bytes.fill(0xff, BLOCK_TABLE, BLOCK_TABLE + BLOCK_TABLE_ENTRIES * 16);
  }

  setStops(pageOffsets: Set<number>): void {
    if (pageOffsets.size === this.stops.size && [...pageOffsets].every((offset) => this.stops.has(offset))) return;
    this.stops = pageOffsets;
    this.clear();
  }

  /** Nothing is traced from now on; all blocks go. */
  forgetStarts(): void {
    this.starts.clear();
    this.clear();
  }

  /** Traced functions that begin in a frame: offset → slot. Blocks that were decoded without knowing go. */
  setStarts(page: number, starts: ReadonlyMap<number, number>): void {
    const known = this.starts.get(page);
    if (known !== undefined && (known === starts || isSameMap(known, starts))) return;
    this.starts.set(page, starts);
    this.written(page, 4096, 0);
  }

  /** The block at a guest-physical address, decoded when it is new; undefined when its first instruction crosses the
   * page (`crossing` does those). */
  find(gpa: number, mode: number): number | undefined {
    const key = gpa * 1024 + mode;
    let block = this.exact.get(key);
    if (block === undefined) {
      if (this.top + MAX_BLOCK_BYTES > BLOCKS_END) this.clear();
      block = this.build(gpa, mode);
      if (block === undefined) return undefined;
      this.exact.set(key, block);
    }
    if ((mode & MODE.PLAIN) === 0) {
      const at = BLOCK_TABLE + (((gpa ^ (gpa >>> 12)) & (BLOCK_TABLE_ENTRIES - 1)) << 4);
      this.view.setUint32(at, gpa, true);
      this.view.setInt32(at + 4, mode, true);
      this.view.setInt32(at + 8, block.address, true);
    }
    return block.address;
  }

  private build(gpa: number, mode: number): Block | undefined {
    const offset = gpa % 4096;
    const page = gpa - offset;
    const inRam = page < this.ramSize;
    const source = inRam ? this.bytes : ALL_ONES;
    const base = inRam ? RAM + page : 0;
    const limit = (mode & MODE.PLAIN) !== 0 ? 1 : MAX_INSTRUCTIONS;
    const address = this.top;
    const written = this.emit(address, source, base, offset, 4096, mode, limit, page, page);
    if (written === undefined) return undefined;
    this.top = written.top;
    this.decoded++;
    const block: Block = { address, start: offset, end: written.end, mode, links: written.links, valid: true };
    this.note(page, block);
    return block;
  }

  /** Whether the bytes hold a whole instruction (or one that is wrong for sure). */
  decodes(code: Uint8Array, length: number, size: 16 | 32 | 64): boolean {
    return this.decoder.decode(code, 0, length, size) !== 'truncated';
  }

  /** Length of the instruction that was last gathered at an address, if there is one. */
  gatheredLength(gpa: number, mode: number): number | undefined {
    return this.gathered.get(gpa * 1024 + mode)?.code.length;
  }

  /** Whether its bytes are these, as far as both go. */
  isGathered(gpa: number, mode: number, code: Uint8Array, length: number): boolean {
    const known = this.gathered.get(gpa * 1024 + mode);
    if (known === undefined) return false;
    for (let i = Math.min(length, known.code.length) - 1; i >= 0; i--) if (known.code[i] !== code[i]) return false;
    return true;
  }

  /** The block of one instruction whose bytes were gathered, because they reach into another page; `mode` is plain.
   * The code map does not watch it: its bytes are compared each time. */
  crossing(gpa: number, code: Uint8Array, length: number, offset: number, mode: number): number {
    const key = gpa * 1024 + mode;
    const known = this.gathered.get(key);
    if (known !== undefined && known.code.length <= length && this.isGathered(gpa, mode, code, length)) {
      return known.address;
    }
    if (this.top + GATHERED_BYTES > BLOCKS_END) this.clear();
    this.window.set(code.subarray(0, length), offset);
    const address = this.top;
    const written = this.emit(address, this.window, 0, offset, offset + length, mode, 1, -1, gpa - offset);
    if (written === undefined) throw new Error('broken belief: gathered bytes hold a whole instruction');
    this.top += GATHERED_BYTES;
    this.gathered.set(key, { code: code.slice(0, written.end - offset), address });
    return address;
  }

  private emit(
    address: number,
    source: Uint8Array,
    base: number,
    start: number,
    end: number,
    mode: number,
    limit: number,
    page: number,
    frame: number,
  ): { top: number; end: number; links: number } | undefined {
    const size = codeSize(mode);
    const { view } = this;
    const d = this.decoder.insn;
    let at = address + HEADER_BYTES;
    let offset = start;
    let count = 0;
    let links = 0;
    const firsts: number[] = []; // record of each instruction (after its steps)
    const metas: (Lowered | undefined)[] = [];
    const begins: number[] = []; // first record of each instruction
    const stop = this.stops.size > 0 && (mode & MODE.PLAIN) === 0;
    if (stop && this.stops.has(start)) {
      this.clearRecord(at);
      view.setUint16(at + REC.HANDLER, SPECIAL.RESYNC, true);
      view.setUint16(at + REC.OFFSET, offset, true);
      begins.push(at);
      at += RECORD_BYTES;
    }
    const starts = this.starts.size > 0 ? this.starts.get(frame) : undefined;
    const slot = starts?.get(start);
    if (slot !== undefined) {
      this.clearRecord(at);
      view.setUint16(at + REC.HANDLER, SPECIAL.ENTRY, true);
      view.setUint16(at + REC.OFFSET, offset, true);
      view.setInt32(at + REC.EXTRA, COUNTERS + slot * 4, true);
      if (begins.length === 0) begins.push(at);
      at += RECORD_BYTES;
    }
    let ended = false;
    while (count < limit && offset < end) {
      if (stop && count > 0 && this.stops.has(offset)) break;
      if (count > 0 && starts?.has(offset)) break; // a function's first instruction begins a block
      const result = this.decoder.decode(source, base + offset, base + end, size);
      if (result === 'truncated') break;
      if (begins.length === count) begins.push(at);
      count++;
      if (result !== 'ok') {
        // Raised where it stands: #UD, or #GP(0) for more than 15 bytes.
        d.length = Math.max(1, d.length);
        this.helperRecord(at, offset, result === 'too-long' ? 'too_long' : 'undefined', undefined, d);
        firsts.push(at);
        metas.push(undefined);
        at += RECORD_BYTES;
        offset += d.length;
        ended = true;
        break;
      }
      const placed = this.lower(at, offset, d, mode, size);
      firsts.push(placed.main);
      metas.push(placed.lowered);
      at = placed.next;
      offset += d.length;
      if (placed.lowered === undefined) break; // TypeScript's; the END behind it is for those that do not jump
      if (d.form.op.ends || (d.form.op.string && placed.lowered.variant.rep !== 0)) {
        ended = d.form.op.ends === true;
        if (ended && linksOut(d.form)) links = placed.main;
        break;
      }
    }
    if (count === 0) return undefined;
    if (!ended) {
      this.clearRecord(at);
      view.setUint16(at + REC.HANDLER, SPECIAL.END, true);
      view.setUint16(at + REC.OFFSET, offset, true);
      links = at;
      at += RECORD_BYTES;
    }
    // How many instructions are left at each record.
    for (let i = 0; i < count; i++) {
      const to = i + 1 < count ? begins[i + 1] : firsts[i] + RECORD_BYTES;
      for (let r = begins[i]; r < to; r += RECORD_BYTES) view.setUint8(r + REC.REMAINING, count - i);
    }
    if ((mode & MODE.PLAIN) === 0) this.improve(firsts, metas, size === 64 ? 64 : 32);
    view.setInt32(address + BLOCK.COUNT, count, true);
    view.setInt32(address + BLOCK.OFFSET, start, true);
    view.setUint32(address + BLOCK.PAGE, page >>> 0, true);
    view.setInt32(address + BLOCK.MODE, mode, true);
    view.setInt32(address + BLOCK.LENGTH, offset - start, true);
    view.setInt32(address + BLOCK.RECORDS, (at - address - HEADER_BYTES) / RECORD_BYTES, true);
    view.setInt32(address + BLOCK.VALID, 1, true);
    const repeats = count === 1 && d.rep !== 0 && (d.form.op.string !== undefined || d.form.operands.startsWith('X'));
    view.setInt32(address + BLOCK.REPEATS, repeats ? 1 : 0, true);
    return { top: at, end: offset, links };
  }

  private clearRecord(at: number): void {
    const { words } = this;
    const first = at >> 2;
    for (let i = 0; i < RECORD_BYTES >> 2; i++) words[first + i] = 0; // a call of fill() costs more
    words[first + (REC.BASE >> 2)] = STATE.ZERO << 16; // the upper half, B is below it
    words[first + (REC.INDEX >> 2)] = STATE.ZERO;
  }

  /** One instruction: its steps and its record. `lowered` is undefined when TypeScript runs it. */
  private lower(
    at: number,
    offset: number,
    d: Decoded,
    mode: number,
    size: 16 | 32 | 64,
  ): { main: number; next: number; lowered: Lowered | undefined } {
    const { form } = d;
    const { op } = form;
    const helper = this.helperFor(d, mode, size);
    if (helper !== undefined) {
      this.helperRecord(at, offset, helper, form, d);
      this.shortcut(at, helper, d, mode, size);
      return { main: at, next: at + RECORD_BYTES, lowered: undefined };
    }
    if (op.vector !== undefined) return this.lowerVector(at, offset, d, mode, size);
    const lowered = this.variantOf(d, size);
    const { shape } = lowered;
    const { view } = this;
    let record = at;
    const usesMemory = shape.memory;
    const touches = usesMemory && op.name !== 'lea';
    let stepped = false;
    if (usesMemory && !(op.access?.[0] === '-' && op.name !== 'lea')) {
      stepped = this.step(record, offset, d, lowered, mode, size, touches);
      if (stepped) record += RECORD_BYTES;
    }
    this.clearRecord(record);
    view.setUint16(record + REC.HANDLER, lowered.loud, true);
    view.setUint8(record + REC.LENGTH, d.length);
    view.setUint16(record + REC.OFFSET, offset, true);
    for (const operand of shape.registers) {
      view.setUint16(
        record + (operand.field === 'A' ? REC.A : REC.B),
        registerSlot(operand.code, operand.width, d),
        true,
      );
    }
    if (usesMemory) {
      if (d.segment === SEG.SS) view.setUint8(record + REC.SEGMENT, SLOW.STACK);
      if (stepped || d.index === NONE) view.setUint16(record + REC.HANDLER, lowered.loudBased, true);
      if (stepped) view.setUint16(record + REC.BASE, STATE.LINEAR, true);
      else this.addressFields(record, offset, d, extraDisplacement(d));
    }
    if (op.ends) {
      view.setInt32(record + REC.DISPLACEMENT, d.immediateLow, true);
      if (usesMemory && !stepped) view.setInt32(record + REC.DISPLACEMENT, this.displacement(offset, d, 0), true);
      else if (usesMemory) view.setInt32(record + REC.DISPLACEMENT, 0, true);
      if (!linksOut(form)) this.immediate(record, d);
    } else this.immediate(record, d);
    return { main: record, next: record + RECORD_BYTES, lowered };
  }

  /** An instruction on MMX or XMM registers. Its record is also TypeScript's, for when the code asks. */
  private lowerVector(
    at: number,
    offset: number,
    d: Decoded,
    mode: number,
    size: 16 | 32 | 64,
  ): { main: number; next: number; lowered: Lowered } {
    const { vector, lowered, number } = this.vectorOf(d, size);
    const { view } = this;
    let record = at;
    const usesMemory = lowered.variant.operands.length > 0;
    const stepped = usesMemory && this.step(record, offset, d, lowered, mode, size, true);
    if (stepped) record += RECORD_BYTES;
    this.helperRecord(record, offset, 'reference', d.form, d);
    view.setUint16(record + REC.HANDLER, number, true);
    for (const { place, field, number } of vector.operands) {
      if (place === 'memory' || place === 'immediate') continue;
      const n = number === 'reg' ? d.reg : d.rm;
      const slot =
        place === 'general'
          ? STATE.GPR + n * 8
          : place === 'xmm'
            ? STATE.FXSAVE + 160 + n * 16
            : STATE.FXSAVE + 32 + (n & 7) * 16;
      view.setUint16(record + (field === 'A' ? REC.A : REC.B), slot, true);
    }
    if (usesMemory) {
      if (d.segment === SEG.SS) view.setUint8(record + REC.SEGMENT, SLOW.STACK);
      if (stepped) view.setUint16(record + REC.BASE, STATE.LINEAR, true);
      else this.addressFields(record, offset, d, 0);
    }
    this.immediate(record, d);
    return { main: record, next: record + RECORD_BYTES, lowered };
  }

  private readonly vectors = new Map<number, { vector: VectorVariant; lowered: Lowered; number: number }>();

  private vectorOf(d: Decoded, size: 16 | 32 | 64): { vector: VectorVariant; lowered: Lowered; number: number } {
    const wide = d.operandSize === 64;
    const id = ((d.formIndex * 2 + (wide ? 1 : 0)) * 2 + (d.isMemory ? 1 : 0)) * 2 + (size === 64 ? 1 : 0);
    const known = this.vectors.get(id);
    if (known) return known;
    const vector = describeVector(d.form, d.operandSize, d.isMemory);
    const loud = coreHandlers(size === 64 ? 64 : 32).vector.get(vector.key);
    if (loud === undefined) throw new Error(`broken belief: every vector variant has a function (${vector.key})`);
    const writes = mask(vector.op.writes);
    const shell = vectorShell(vector);
    const lowered: Lowered = {
      variant: shell,
      shape: shapeOf(shell),
      loud,
      quiet: loud,
      loudBased: loud,
      quietBased: loud,
      kills: writes,
      writes,
      reads: 0,
      faults: true,
    };
    const made = { vector, lowered, number: loud };
    this.vectors.set(id, made);
    return made;
  }

  private immediate(record: number, d: Decoded): void {
    const one = d.form.operands.endsWith(',1');
    this.view.setInt32(record + REC.IMMEDIATE, one ? 1 : d.immediateLow, true);
    this.view.setInt32(record + REC.IMMEDIATE + 4, one ? 0 : d.immediateHigh, true);
  }

  private displacement(offset: number, d: Decoded, extra: number): number {
    return (d.base === RIP_BASE ? d.displacement + offset + d.length : d.displacement) + extra;
  }

  private addressFields(record: number, offset: number, d: Decoded, extra: number): void {
    const { view } = this;
    const absolute = d.form.operands.includes('O');
    const base =
      absolute || d.base === NONE ? STATE.ZERO : d.base === RIP_BASE ? STATE.PAGE_BASE : STATE.GPR + d.base * 8;
    view.setUint16(record + REC.BASE, base, true);
    view.setUint16(record + REC.INDEX, d.index === NONE || absolute ? STATE.ZERO : STATE.GPR + d.index * 8, true);
    view.setUint8(record + REC.SCALE, d.scale);
    view.setInt32(record + REC.DISPLACEMENT, absolute ? d.immediateLow : this.displacement(offset, d, extra), true);
  }

  /** The step that makes a linear address in front of an instruction whose operand is not in a flat segment, has an
   * unusual address size, or is a bit string. */
  private step(
    record: number,
    offset: number,
    d: Decoded,
    { variant, shape }: Lowered,
    mode: number,
    size: 16 | 32 | 64,
    touches: boolean,
  ): boolean {
    const segment = d.segment;
    const { stores, bitString } = shape;
    // A code segment cannot be written, flat or not.
    const forbidden = stores && segment === SEG.CS && size !== 64;
    const flat = !touches || (segmentIsFlat(segment, mode) && !forbidden);
    const native = d.addressSize === (size === 64 ? 64 : 32);
    if (flat && native && !bitString) return false;
    const { view } = this;
    this.clearRecord(record);
    this.addressFields(record, offset, d, extraDisplacement(d));
    view.setUint8(record + REC.LENGTH, d.length);
    view.setUint16(record + REC.OFFSET, offset, true);
    view.setUint8(record + REC.SEGMENT, touches ? segment : 0xff);
    const simple = !bitString && (flat || size === 64);
    const addressMask = d.addressSize === 64 ? -1n : d.addressSize === 32 ? 0xffff_ffffn : 0xffffn;
    view.setBigInt64(record + REC.IMMEDIATE, addressMask, true);
    view.setUint16(
      record + REC.HANDLER,
      simple ? SPECIAL.SEGMENT : bitString && flat && native ? SPECIAL.BITS : SPECIAL.CHECKED,
      true,
    );
    view.setUint16(record + REC.A, flat ? STATE.ZERO : STATE.SEG + segment * SEG_BYTES + SEG_BASE, true);
    if (bitString) {
      const operand = variant.operands[1];
      view.setUint16(record + REC.B, registerSlot(operand.code, operand.width, d), true);
      if (flat && native) view.setBigInt64(record + REC.IMMEDIATE, BigInt(-(variant.width / 8)), true);
    }
    const bits = bitString ? variant.width : 0;
    view.setInt32(record + REC.EXTRA, shape.bytes | (stores ? STEP.WRITE : 0) | (bits << STEP.BIT_WIDTH), true);
    return true;
  }

  /** The name of the TypeScript helper that must run this instruction, if one must. */
  private helperFor(d: Decoded, mode: number, size: 16 | 32 | 64): string | undefined {
    const { op, lock } = d.form;
    if (d.lock && !(lock && d.isMemory)) return 'undefined';
    if (op.unbuilt !== undefined) return 'unbuilt';
    if (op.helper !== undefined) return op.helper;
    if (this.byReference) return 'reference';
    if (d.isMemory && d.base === RIP_BASE && Math.abs(d.displacement) > 0x7fff_0000) return 'reference';
    if (op.string) {
      if (d.addressSize === 16) return 'reference';
      const source = d.override >= 0 ? d.override : SEG.DS;
      if (op.string.source && !segmentIsFlat(source, mode)) return 'reference';
      if (op.string.destination && !segmentIsFlat(SEG.ES, mode)) return 'reference';
    }
    if (size !== 64) {
      const stack = MODE.STACK_32 | MODE.FLAT_SS;
      if (op.stack && (mode & stack) !== stack) return 'reference';
      // 16-bit targets are cut, and targets past the limit of CS fault at the branch.
      const checked = size === 16 || d.operandSize === 16 || (mode & MODE.CS_LIMITED) !== 0;
      if (op.ends && checked) return 'reference';
    }
    if (d.addressSize === 16 && /^(loop|jrcxz)/.test(op.name)) return 'reference';
    // A 64-bit absolute address does not fit a record's displacement.
    if (d.immediateHigh !== d.immediateLow >> 31 && d.addressSize === 64 && d.form.operands.includes('O'))
      return 'reference';
    return undefined;
  }

  private helperRecord(at: number, offset: number, helper: string, form: Form | undefined, d: Decoded): void {
    this.clearRecord(at);
    this.view.setUint16(at + REC.HANDLER, SPECIAL.HELPER, true);
    this.view.setUint8(at + REC.LENGTH, d.length);
    this.view.setUint8(at + REC.REMAINING, 1);
    this.view.setUint16(at + REC.OFFSET, offset, true);
    const record: HelperRecord = {
      helper,
      form,
      length: d.length,
      name: form?.op.name ?? helper,
      operandSize: (d.operandSize / 8) as 2 | 4 | 8,
      addressSize: (d.addressSize / 8) as 2 | 4 | 8,
      operandBits: d.operandSize,
      addressBits: d.addressSize,
      rep: d.rep,
      reg: d.reg,
      isMemory: d.isMemory,
      rm: d.rm,
      mod: d.mod,
      segment: d.form.operands.startsWith('X') && d.override < 0 ? SEG.DS : d.override >= 0 ? d.override : d.segment,
      immediate: BigInt.asIntN(64, (BigInt(d.immediateHigh) << 32n) | BigInt(d.immediateLow >>> 0)),
      immediate2: d.immediate2,
      opcode: d.opcode,
      base: d.base,
      index: d.index,
      scale: d.scale,
      displacement: d.displacement,
      rex: d.rex,
      vector: d.immediateLow & 0xff,
    };
    this.view.setInt32(at + REC.EXTRA, this.helpers.push(record) - 1, true);
  }

  /** Where the core can do a helper's common case by itself, its function comes first. The record says what it needs. */
  private shortcut(at: number, helper: string, d: Decoded, mode: number, size: 16 | 32 | 64): void {
    if (size === 16) return;
    const number = coreHandlers(size).quick.get(helper);
    if (number === undefined) return;
    const { view } = this;
    const native = d.operandSize === size;
    const flatStack = (mode & (MODE.STACK_32 | MODE.FLAT_SS)) === (MODE.STACK_32 | MODE.FLAT_SS);
    switch (helper) {
      case 'int':
        view.setInt32(at + REC.IMMEDIATE, d.immediateLow & 0xff, true);
        break;
      case 'in':
      case 'out': {
        const bytes = (d.opcode & 1) === 0 ? 1 : d.operandSize === 16 ? 2 : 4;
        const port = (d.opcode & 8) === 0 ? d.immediateLow & 0xff : -1; // -1: DX
        view.setInt32(at + REC.IMMEDIATE, port, true);
        view.setUint8(at + REC.SCALE, bytes);
        break;
      }
      case 'mov_from_cr': {
        const from = CONTROL_REGISTERS[d.reg];
        if (from === undefined) return;
        view.setUint16(at + REC.A, STATE.GPR + d.rm * 8, true);
        view.setUint16(at + REC.B, from, true);
        break;
      }
      case 'mov_from_sreg':
        if (d.isMemory || (d.reg & 7) > SEG.GS) return;
        view.setUint16(at + REC.A, STATE.GPR + d.rm * 8, true);
        view.setUint16(at + REC.B, STATE.SEG + (d.reg & 7) * SEG_BYTES + SEG_SELECTOR, true);
        view.setUint8(at + REC.SCALE, d.operandSize / 8);
        break;
      case 'iret':
        if (!native) return;
        break;
      case 'pushf':
      case 'popf':
      case 'pusha':
      case 'popa':
        if (!native || !flatStack) return;
        break;
    }
    view.setUint16(at + REC.HANDLER, number, true);
  }

  private variantOf(d: Decoded, size: 16 | 32 | 64): Lowered {
    const { form } = d;
    let { operandSize } = d;
    const nop = isNop(form, d.opcode, d.rex);
    if (nop) operandSize = 32;
    const countMask = operandSize === 64 && !form.operands.startsWith('Eb') ? 63 : 31;
    const certain =
      form.op.conditionalFlags === true &&
      (form.operands.endsWith(',1') || (form.operands.endsWith('Ib') && (d.immediateLow & countMask) !== 0));
    const addressSize = d.addressSize === 64 ? 64 : 32;
    const stack = size === 64 ? 64 : 32;
    const key =
      (((((d.formIndex * 3 + SIZE_INDEX[operandSize]) * 2 + (d.isMemory ? 1 : 0)) * 4 + d.rep) * 2 +
        (addressSize === 64 ? 1 : 0)) *
        2 +
        (stack === 64 ? 1 : 0)) *
        4 +
      (certain ? 2 : 0) +
      (nop ? 1 : 0);
    const known = this.lowered.get(key);
    if (known) return known;
    const rep = form.op.string ? d.rep : 0;
    const variant = describe({ form, size: operandSize, isMemory: d.isMemory, rep, addressSize, stack, certain });
    const handlerKey = nop ? 'nop/32 R32-' : variant.key;
    const handlers = coreHandlers(stack);
    const loud = handlers.loud.get(handlerKey);
    if (loud === undefined) throw new Error(`broken belief: every variant has a handler (${handlerKey})`);
    const memory = variant.operands.some((o) => o.kind === 'M' && o.access !== '-');
    const { op } = form;
    const seen = nop ? { ...variant, key: handlerKey, op: { name: 'nop' }, operands: [] } : variant;
    const lowered: Lowered = {
      variant: seen,
      shape: shapeOf(seen),
      loud,
      quiet: handlers.quiet.get(handlerKey) ?? loud,
      loudBased: handlers.loudBased.get(handlerKey) ?? loud,
      quietBased: handlers.quietBased.get(handlerKey) ?? handlers.loudBased.get(handlerKey) ?? loud,
      kills: op.conditionalFlags && !certain ? 0 : mask(op.writes),
      writes: mask(op.writes),
      reads: mask(op.reads),
      faults: memory || op.stack === true || op.string !== undefined || op.faults === true,
    };
    this.lowered.set(key, lowered);
    return lowered;
  }

  /** Flags that nothing will see are not computed, and a comparison before its branch becomes one record's work. A flag
   * is dead only if it is overwritten before anything that reads it, faults, or leaves the block. */
  private improve(records: readonly number[], metas: readonly (Lowered | undefined)[], codeMode: 32 | 64): void {
    const { view } = this;
    let live = ALL_FLAGS;
    for (let i = records.length - 1; i >= 0; i--) {
      const meta = metas[i];
      if (meta === undefined) {
        live = ALL_FLAGS;
        continue;
      }
      const quiet = meta.writes !== 0 && (meta.writes & live) === 0;
      if (quiet) {
        const isBased = view.getUint16(records[i] + REC.HANDLER, true) !== meta.loud;
        view.setUint16(records[i] + REC.HANDLER, isBased ? meta.quietBased : meta.quiet, true);
      }
      live = (live & ~meta.kills) | meta.reads;
      if (meta.faults) live = ALL_FLAGS;
    }
    const last = records.length - 1;
    const branch = metas[last]?.variant.op.name;
    if (last < 1 || branch === undefined || records[last] !== records[last - 1] + RECORD_BYTES) return;
    if (branch[0] !== 'j' || !CONDITIONS.includes(branch.slice(1) as 'o')) return;
    const fused = coreHandlers(codeMode).fused.get(`${metas[last - 1]?.variant.key} ${branch}`);
    if (fused !== undefined) view.setUint16(records[last - 1] + REC.HANDLER, fused, true);
  }

  // ---- The code map

  private note(page: number, block: Block): void {
    let frame = this.frames.get(page);
    if (frame === undefined) {
      frame = { blocks: [], low: 0, high: 0 };
      this.frames.set(page, frame);
      this.frameHasCode(page);
    }
    frame.blocks.push(block);
    const [low, high] = lines(block.start, block.end);
    frame.low |= low;
    frame.high |= high;
  }

  /** To be called before bytes change. `current` is the running record, or 0; true when its block was one of those that
   * the bytes belong to. */
  written(gpa: number, length: number, current: number): boolean {
    let running = false;
    for (let page = gpa - (gpa % 4096); page < gpa + length; page += 4096) {
      const frame = this.frames.get(page);
      if (frame === undefined) continue;
      const from = Math.max(0, gpa - page);
      const to = Math.min(4096, gpa + length - page);
      const [low, high] = lines(from, to);
      if (((frame.low & low) | (frame.high & high)) === 0) continue;
      if (frame.blocks.some((b) => b.start < to && from < b.end)) {
        if (this.drop(page, frame, from, to, current)) running = true;
      }
    }
    return running;
  }

  /** Which bytes of which frame lie in blocks, as (frame, first byte and end) for each block. Blocks themselves are not
   * state, but that a frame has one is: stores into it have no write tag. */
  save(): Saved {
    const places: number[] = [];
    for (const [page, { blocks }] of this.frames) {
      for (const { start, end } of blocks) places.push(page / 4096, start | (end << 16));
    }
    return Int32Array.from(places);
  }

  /** In place of each block comes one without records, which nobody can run: where code is decoded again a real one joins
   * it, and a write drops both. */
  restore(saved: Saved, where: string): void {
    const places = int32s()(saved, where);
    this.clear();
    for (let i = 0; i + 1 < places.length; i += 2) {
      const page = places[i] * 4096;
      const [start, end] = [places[i + 1] & 0xffff, places[i + 1] >>> 16];
      if (page < 0 || start >= end || end > 4096) throw misfit(where, `block ${i / 2} is none`);
      this.note(page, { address: NO_RECORDS, start, end, mode: 0, links: 0, valid: true });
    }
  }

  private drop(page: number, frame: Frame, from: number, to: number, current: number): boolean {
    const { view } = this;
    let running = false;
    const kept: Block[] = [];
    frame.low = 0;
    frame.high = 0;
    for (const block of frame.blocks) {
      // Links stay inside a frame: forgetting all of the frame's is enough.
      if (block.links !== 0) view.setBigInt64(block.links + REC.LINK_TAKEN, 0n, true);
      if (block.start < to && from < block.end) {
        block.valid = false;
        if (block.address === NO_RECORDS) continue;
        this.exact.delete((page + block.start) * 1024 + block.mode);
        const gpa = page + block.start;
        const at = BLOCK_TABLE + (((gpa ^ (gpa >>> 12)) & (BLOCK_TABLE_ENTRIES - 1)) << 4);
        if (view.getInt32(at + 8, true) === block.address) view.setInt32(at + 4, -1, true);
        view.setInt32(block.address + BLOCK.VALID, 0, true);
        if (this.contains(block, current)) running = true;
      } else {
        kept.push(block);
        const [low, high] = lines(block.start, block.end);
        frame.low |= low;
        frame.high |= high;
      }
    }
    frame.blocks = kept;
    if (kept.length === 0) this.frames.delete(page);
    return running;
  }

  private contains(block: Block, record: number): boolean {
    const records = this.view.getInt32(block.address + BLOCK.RECORDS, true);
    return record >= block.address && record < block.address + HEADER_BYTES + records * RECORD_BYTES;
  }
}

function isSameMap(a: ReadonlyMap<number, number>, b: ReadonlyMap<number, number>): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (b.get(key) !== value) return false;
  return true;
}

const ALL_ONES = new Uint8Array(4096).fill(0xff);

/** Whether the record's last 8 bytes are links: a direct branch or a call. */
function linksOut(form: Form): boolean {
  return form.op.ends === true && form.operands.startsWith('J');
}

/** POP to memory computes its address with RSP already moved. */
function extraDisplacement(d: Decoded): number {
  return d.form.op.name === 'pop' && d.isMemory && d.base === 4 ? d.operandSize / 8 : 0;
}

function segmentIsFlat(segment: number, mode: number): boolean {
  return segment < SEG.FS && (mode & (MODE.FLAT_ES << segment)) !== 0;
}

/** State address of a register operand. */
function registerSlot(code: string, width: number, d: Decoded): number {
  let number: number;
  if (code === 'AL' || code === 'rAX') number = 0;
  else if (code === 'CL') number = 1;
  else if (code[0] === 'G') number = d.reg;
  else if (code[0] === 'Z') number = (d.opcode & 7) | ((d.rex & 1) << 3);
  else number = d.rm;
  if (width === 8 && code !== 'AL' && code !== 'CL' && d.rex === 0 && number >= 4)
    return STATE.GPR + (number - 4) * 8 + 1;
  return STATE.GPR + number * 8;
}

/** The 64-byte lines of a byte range in a page, as two masks. */
function lines(from: number, to: number): [number, number] {
  let low = 0;
  let high = 0;
  for (let line = from >> 6; line <= (to - 1) >> 6; line++) {
    if (line < 32) low |= 1 << line;
    else high |= 1 << (line - 32);
  }
  return [low, high];
}
