/** World: a CPU with descriptor tables, a TSS and page tables in real memory, for tests of the system half.
 *
 * RAM is identity-mapped. In the 64-bit world it lies behind 4-level tables (A and D set, so that a probe changes
 * nothing): user pages from USER to RAM's end, supervisor pages below. The 32-bit world has paging off.
 * The tables are the same selectors in both, with the code segments of the mode; a test overwrites what it wants to. */
import { type CpuCore, GuestFault, type HelperInsn, Unbuilt } from '../../../src/engine/core.ts';
import { SEG, STATE } from '../../../src/engine/state.ts';
import { CR0, CR4, EFER, SYSTEM_TYPE } from '../../../src/x86/constants.ts';
import {
  encodeGate,
  encodeGate64,
  encodeSegment,
  encodeSystem64,
  type Gate,
  segmentOf,
  splitDescriptor,
} from '../../../src/x86/descriptor.ts';
import { nullSegment, type Segment } from '../../../src/x86/vcpu-state.ts';
import { insn, TestCore } from '../test-core.ts';

export const TABLES = { gdt: 0x8000, gdtLimit: 0x1ff, idt: 0x9000, tss: 0xb000, ldt: 0xc000, ldtLimit: 0x3f };
const RAM_SIZE = 0x6_0000;
export const USER = 0x4_0000;
/** Stack pointers: of level 3, of level 0 in use, and those that the TSS names. */
export const STACK = {
  user: 0x5_0000,
  kernel: 0x2_0000,
  tss0: 0x2_8000,
  tss1: 0x2_9000,
  tss2: 0x2_a000,
  ist1: 0x2_c000,
};

/** Selectors of the worlds' GDT. */
export const S = {
  code: 0x08, data: 0x10, code32: 0x18, data3: 0x20, code3: 0x28, tss: 0x30, // 0x38 is the TSS's upper half
  code32of3: 0x40, conforming: 0x48, absentCode: 0x50, absentData: 0x58, readOnly: 0x60, executeOnly3: 0x68,
  ldt: 0x70, // and 0x78
  both: 0x80, code1: 0x88, data1: 0x90, stack16: 0x98, small: 0xa0, absentData3: 0xa8, conforming3: 0xb0, code2: 0xb8,
  gate: 0xc0, // and 0xc8
  data2: 0xd0, expandDown: 0xd8, code16: 0xe0, stack16of3: 0xe8,
} as const; // biome-ignore format: a table

const flat = (attributes: number): Omit<Segment, 'selector'> => ({ base: 0n, limit: 0xffff_ffff, attributes });
const bytes = (limit: number, attributes: number, base = 0n): Omit<Segment, 'selector'> => ({
  base,
  limit,
  attributes,
});

/** A core's memory is 40 MiB, so a few cores serve all worlds in turn: a test may hold this many worlds at a time. */
const cores: TestCore[] = [];
let turn = 0;
function nextCore(): TestCore {
  turn = (turn + 1) % 4;
  cores[turn] ??= new TestCore(RAM_SIZE);
  return cores[turn];
}

export type Outcome = { vector: number; errorCode?: number; cr2?: bigint } | { unbuilt: string } | undefined;

export class World {
  readonly core: TestCore;
  readonly is64: boolean;

  constructor(is64: boolean) {
    const core = nextCore();
    this.core = core;
    this.is64 = is64;
    const { state, ram } = core;
    new Uint8Array(ram.buffer, ram.byteOffset, ram.byteLength).fill(0);
    state.bytes.fill(0, STATE.GPR, STATE.FXSAVE);
    core.flushTlb();
    state.rflags = 2;
    if (is64) this.#buildPageTables();
    state.set64('CR0', BigInt(CR0.PE | CR0.WP | CR0.AM) | (is64 ? BigInt(CR0.PG) : 0n));
    state.set64('CR4', is64 ? BigInt(CR4.PAE) : 0n);
    state.set64('EFER', is64 ? BigInt(EFER.LME | EFER.LMA | EFER.SCE) : 0n);
    state.set64('GDTR_BASE', BigInt(TABLES.gdt));
    state.gdtrLimit = TABLES.gdtLimit;
    state.set64('IDTR_BASE', BigInt(TABLES.idt));
    state.idtrLimit = is64 ? 0xfff : 0x7ff;
    this.#buildGdt();
    this.#buildTss();
    state.setDr(6, 0xffff_0ff0n);
    state.setDr(7, 0x400n);
    this.enter(0);
    core.modeChanged();
  }

  /** Selector of the mode's own code segment at a level. */
  codeOf(level: number): number {
    return [S.code, S.code1, S.code2, S.code3][level] | level;
  }
  dataOf(level: number): number {
    return [S.data, S.data1, S.data2, S.data3][level] | level;
  }

  /** Puts the CPU at a level, in the mode's own code. */
  enter(level: number): this {
    const { state } = this.core;
    state.cpl = level;
    state.setSegment(SEG.CS, this.descriptor(this.codeOf(level)));
    for (const s of [SEG.SS, SEG.DS, SEG.ES]) state.setSegment(s, this.descriptor(this.dataOf(level)));
    state.setSegment(SEG.FS, nullSegment());
    state.setSegment(SEG.GS, nullSegment());
    state.setGpr(4, BigInt(level === 3 ? STACK.user : STACK.kernel));
    state.rip = level === 3 ? 0x4_1000n : 0x1_1000n;
    return this;
  }
  /** Compatibility mode at a level (0 or 3). */
  enterCompat(level: 0 | 3): this {
    this.enter(level);
    this.core.state.setSegment(SEG.CS, this.descriptor((level === 3 ? S.code32of3 : S.code32) | level));
    return this;
  }

  /** Segment register contents from the GDT. */
  descriptor(selector: number): Segment {
    return segmentOf(selector, splitDescriptor(this.core.ram.getBigUint64(TABLES.gdt + (selector & 0xfff8), true)));
  }
  gdt(selector: number, ...quads: bigint[]): this {
    for (const [i, quad] of quads.entries())
      this.core.ram.setBigUint64(TABLES.gdt + (selector & 0xfff8) + 8 * i, quad, true);
    return this;
  }
  segment(selector: number, segment: Omit<Segment, 'selector'>): this {
    return this.gdt(selector, encodeSegment(segment));
  }
  /** A call gate in the GDT, of the mode's size. */
  callGate(selector: number, gate: Partial<Gate> & Pick<Gate, 'selector' | 'offset'>): this {
    const whole = { type: SYSTEM_TYPE.CALL_GATE, dpl: 3, ...gate };
    return this.gdt(selector, ...(this.is64 ? encodeGate64(whole) : [encodeGate(whole)]));
  }
  idtGate(vector: number, gate: Partial<Gate> & Pick<Gate, 'selector' | 'offset'>): this {
    const whole = { type: SYSTEM_TYPE.INTERRUPT_GATE, ...gate };
    const quads = this.is64 ? encodeGate64(whole) : [encodeGate(whole)];
    for (const [i, quad] of quads.entries())
      this.core.ram.setBigUint64(TABLES.idt + vector * 8 * quads.length + 8 * i, quad, true);
    return this;
  }
  /** Every vector has an interrupt gate to the kernel's code at 0x10000 + 16 * vector. */
  allGates(selector: number = S.code): this {
    for (let v = 0; v < 256; v++) this.idtGate(v, { selector, offset: 0x1_0000n + BigInt(16 * v) });
    return this;
  }
  /** Clears or changes the entry of an identity-mapped page. */
  page(address: number, flags: number): this {
    this.core.ram.setBigUint64(0x4000 + (address >> 12) * 8, BigInt(address & ~0xfff) | BigInt(flags), true);
    this.core.flushTlb();
    return this;
  }

  /** Values on the stack from the stack pointer up. */
  stack(count: number, size: 2 | 4 | 8, at = this.core.state.gpr(4)): bigint[] {
    const values = [];
    for (let i = 0; i < count; i++) values.push(this.core.readLinear(at + BigInt(i * size), size, true));
    return values;
  }
  push(size: 2 | 4 | 8, ...values: (bigint | number)[]): this {
    const { state } = this.core;
    for (const value of values) {
      state.setGpr(4, state.gpr(4) - BigInt(size));
      this.core.writeLinear(state.gpr(4), size, BigInt(value), true);
    }
    return this;
  }

  /** Runs what may fault. On a fault neither the CPU state (CR2 apart) nor RAM may have changed. */
  run(action: (core: CpuCore) => unknown): Outcome {
    const before = this.snapshot();
    try {
      action(this.core);
      return undefined;
    } catch (thrown) {
      const after = this.snapshot();
      if (Buffer.compare(before, after) !== 0) throw new Error('state changed before a fault', { cause: thrown });
      if (thrown instanceof Unbuilt) return { unbuilt: thrown.what };
      if (!(thrown instanceof GuestFault)) throw thrown;
      const { vector, errorCode, cr2 } = thrown;
      return { vector, ...(errorCode === undefined ? {} : { errorCode }), ...(cr2 === undefined ? {} : { cr2 }) };
    }
  }

  /** Registers and RAM, without what faults may write (CR2, STATE.FAULT_*). */
  snapshot(): Uint8Array {
    const { ram, state } = this.core;
    const bytes = new Uint8Array(STATE.FAULT_VECTOR + RAM_SIZE);
    bytes.set(state.bytes.subarray(STATE.GPR, STATE.FAULT_VECTOR));
    bytes.fill(0, STATE.CR2 - STATE.GPR, STATE.CR2 - STATE.GPR + 8);
    bytes.set(new Uint8Array(ram.buffer, ram.byteOffset, RAM_SIZE), STATE.FAULT_VECTOR);
    return bytes;
  }

  #buildPageTables(): void {
    const { ram, state } = this.core;
    for (const [at, entry] of [
      [0x1000, 0x2027n],
      [0x2000, 0x3027n],
      [0x3000, 0x4027n],
    ] as const)
      ram.setBigUint64(at, entry, true);
    for (let page = 0; page < RAM_SIZE >> 12; page++) {
      ram.setBigUint64(0x4000 + page * 8, BigInt(page * 0x1000) | (page * 0x1000 >= USER ? 0x67n : 0x63n), true);
    }
    state.set64('CR3', 0x1000n);
  }

  #buildGdt(): void {
    const native = (dpl: number): number => (this.is64 ? 0xa09b : 0xc09b) | (dpl << 5);
    this.segment(S.code, flat(native(0)))
      .segment(S.code1, flat(native(1)))
      .segment(S.code2, flat(native(2)));
    this.segment(S.code3, flat(native(3)))
      .segment(S.code32, flat(0xc09b))
      .segment(S.code32of3, flat(0xc0fb));
    this.segment(S.data, flat(0xc093)).segment(S.data1, flat(0xc0b3)).segment(S.data2, flat(0xc0d3));
    this.segment(S.data3, flat(0xc0f3)).segment(S.conforming, flat(native(0) | 4));
    this.segment(S.conforming3, flat(native(3) | 4)).segment(S.absentCode, flat(native(0) & ~0x80));
    this.segment(S.absentData, flat(0xc013)).segment(S.readOnly, flat(0xc091)).segment(S.executeOnly3, flat(0xc0f9));
    this.segment(S.both, flat(0xe09b)).segment(S.stack16, bytes(0xffff, 0x0093)).segment(S.small, bytes(0xfff, 0x40fb));
    this.segment(S.stack16of3, bytes(0xffff, 0x00f3, BigInt(USER))).segment(S.code16, bytes(0xffff, 0x009b));
    this.segment(S.absentData3, flat(0xc073)).segment(S.expandDown, bytes(0x1_ffff, 0x4097));
    const ldt = bytes(TABLES.ldtLimit, 0x82, BigInt(TABLES.ldt));
    this.gdt(S.ldt, ...(this.is64 ? encodeSystem64(ldt) : [encodeSegment(ldt)]));
  }

  #buildTss(): void {
    const { ram, state } = this.core;
    const tss = bytes(0x67, 0x89, BigInt(TABLES.tss));
    this.gdt(S.tss, ...(this.is64 ? encodeSystem64(tss) : [encodeSegment(tss)]));
    state.setSegment(SEG.TR, { ...tss, selector: S.tss, attributes: 0x8b });
    const stacks = [STACK.tss0, STACK.tss1, STACK.tss2];
    for (const [level, sp] of stacks.entries()) {
      ram.setBigUint64(TABLES.tss + 4 + 8 * level, BigInt(sp), true);
      if (!this.is64) ram.setUint16(TABLES.tss + 8 + 8 * level, this.dataOf(level), true);
    }
    if (this.is64) ram.setBigUint64(TABLES.tss + 0x24, BigInt(STACK.ist1), true);
  }
}

export const world64 = (level = 0): World => new World(true).enter(level);
export const world32 = (level = 0): World => new World(false).enter(level);
export type { HelperInsn };
export { insn };
