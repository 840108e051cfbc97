/** CpuState: the registers in WebAssembly memory, as TypeScript reads and writes them.
 *
 * Every accessor goes straight to the buffer: there is no second copy that could be stale. 64-bit values are bigint,
 * so helpers are for rare instructions only. Flags come and go materialised.
 * Next: engine/flags.ts. */
import { GPR_NAMES, SEGMENT_NAMES, type Segment, type VcpuState } from '../x86/vcpu-state.ts';
import { materialise, setArithmetic } from './flags.ts';
import { SEG, SEG_ATTRIBUTES, SEG_BASE, SEG_BYTES, SEG_LIMIT, SEG_SELECTOR, STATE } from './state.ts';

const U64 = 0xffff_ffff_ffff_ffffn;
export const ARITHMETIC_FLAGS = 0x8d5;

/** 64-bit registers by name, for get64 and set64. */
export type Register64 = {
  [K in keyof typeof STATE]: K;
}[
  | 'RIP'
  | 'GDTR_BASE'
  | 'IDTR_BASE'
  | 'CR0'
  | 'CR2'
  | 'CR3'
  | 'CR4'
  | 'CR8'
  | 'EFER'
  | 'STAR'
  | 'LSTAR'
  | 'CSTAR'
  | 'SFMASK'
  | 'KERNEL_GS_BASE'
  | 'SYSENTER_CS'
  | 'SYSENTER_ESP'
  | 'SYSENTER_EIP'
  | 'PAT'
  | 'TSC_OFFSET'
  | 'APIC_BASE'
  | 'TSC_AUX'];

export class CpuState {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;

  constructor(buffer: ArrayBuffer) {
    this.view = new DataView(buffer);
    this.bytes = new Uint8Array(buffer);
    this.words = new Int32Array(buffer);
  }

  get64(name: Register64): bigint {
    return this.view.getBigUint64(STATE[name], true);
  }
  set64(name: Register64, value: bigint): void {
    this.view.setBigUint64(STATE[name], value & U64, true);
  }
  /** A general register's `size` low bytes, zero-extended. Byte registers here are the low ones only. */
  gpr(number: number, size: 1 | 2 | 4 | 8 = 8): bigint {
    const value = this.view.getBigUint64(STATE.GPR + number * 8, true);
    return size === 8 ? value : BigInt.asUintN(size * 8, value);
  }
  /** Writes as instructions do: 4 bytes clear the upper half, 1 and 2 leave the rest. */
  setGpr(number: number, value: bigint, size: 1 | 2 | 4 | 8 = 8): void {
    const at = STATE.GPR + number * 8;
    if (size === 8) this.view.setBigUint64(at, value & U64, true);
    else if (size === 4) this.view.setBigUint64(at, value & 0xffff_ffffn, true);
    else if (size === 2) this.view.setUint16(at, Number(value & 0xffffn), true);
    else this.view.setUint8(at, Number(value & 0xffn));
  }

  get rip(): bigint {
    return this.get64('RIP');
  }
  set rip(value: bigint) {
    this.set64('RIP', value);
  }
  /** All of RFLAGS (the upper half is zero). */
  get rflags(): number {
    return (this.view.getInt32(STATE.SYS_FLAGS, true) & ~ARITHMETIC_FLAGS) | materialise(this.view);
  }
  set rflags(value: number) {
    this.view.setInt32(STATE.SYS_FLAGS, (value & ~ARITHMETIC_FLAGS) | 2, true);
    setArithmetic(this.view, value & ARITHMETIC_FLAGS);
  }
  get cpl(): number {
    return this.view.getInt32(STATE.CPL, true);
  }
  set cpl(value: number) {
    this.view.setInt32(STATE.CPL, value, true);
  }
  /** Whether STI or MOV SS shadows the next instruction (SHADOW). The run loop clears it. */
  get shadow(): number {
    return this.view.getInt32(STATE.SHADOW, true);
  }
  set shadow(value: number) {
    this.view.setInt32(STATE.SHADOW, value, true);
  }
  get gdtrLimit(): number {
    return this.view.getUint32(STATE.GDTR_LIMIT, true);
  }
  set gdtrLimit(value: number) {
    this.view.setUint32(STATE.GDTR_LIMIT, value, true);
  }
  get idtrLimit(): number {
    return this.view.getUint32(STATE.IDTR_LIMIT, true);
  }
  set idtrLimit(value: number) {
    this.view.setUint32(STATE.IDTR_LIMIT, value, true);
  }
  dr(number: number): bigint {
    return this.view.getBigUint64(STATE.DR + drIndex(number) * 8, true);
  }
  setDr(number: number, value: bigint): void {
    this.view.setBigUint64(STATE.DR + drIndex(number) * 8, value & U64, true);
  }

  selector(segment: number): number {
    return this.view.getUint16(STATE.SEG + segment * SEG_BYTES + SEG_SELECTOR, true);
  }
  attributes(segment: number): number {
    return this.view.getUint32(STATE.SEG + segment * SEG_BYTES + SEG_ATTRIBUTES, true);
  }
  limit(segment: number): number {
    return this.view.getUint32(STATE.SEG + segment * SEG_BYTES + SEG_LIMIT, true);
  }
  base(segment: number): bigint {
    return this.view.getBigUint64(STATE.SEG + segment * SEG_BYTES + SEG_BASE, true);
  }
  setBase(segment: number, base: bigint): void {
    this.view.setBigUint64(STATE.SEG + segment * SEG_BYTES + SEG_BASE, base & U64, true);
    if (segment === SEG.CS) this.view.setBigUint64(STATE.CS_BASE, base & U64, true);
  }
  segment(segment: number): Segment {
    return {
      selector: this.selector(segment),
      base: this.base(segment),
      limit: this.limit(segment),
      attributes: this.attributes(segment),
    };
  }
  /** Loads visible and hidden part at once. Checks nothing; the caller calls modeChanged. */
  setSegment(segment: number, value: Segment): void {
    const at = STATE.SEG + segment * SEG_BYTES;
    this.view.setUint16(at + SEG_SELECTOR, value.selector, true);
    this.view.setUint32(at + SEG_ATTRIBUTES, value.attributes, true);
    this.view.setUint32(at + SEG_LIMIT, value.limit, true);
    this.setBase(segment, value.base);
  }

  /** True in 64-bit code (CS.L in long mode), not in compatibility mode. */
  get is64(): boolean {
    return this.longMode && (this.attributes(SEG.CS) & 0x2000) !== 0;
  }
  /** EFER.LMA. */
  get longMode(): boolean {
    return (this.view.getInt32(STATE.EFER, true) & 0x400) !== 0;
  }

  read(): VcpuState {
    const segments = Object.fromEntries(SEGMENT_NAMES.map((name, i) => [name, this.segment(i)]));
    const gprs = Object.fromEntries(GPR_NAMES.map((name, i) => [name, this.gpr(i)]));
    return {
      ...(gprs as Record<(typeof GPR_NAMES)[number], bigint>),
      rip: this.rip,
      rflags: BigInt(this.rflags >>> 0),
      segments: segments as VcpuState['segments'],
      ldtr: this.segment(SEG.LDTR),
      tr: this.segment(SEG.TR),
      gdtr: { base: this.get64('GDTR_BASE'), limit: this.gdtrLimit },
      idtr: { base: this.get64('IDTR_BASE'), limit: this.idtrLimit },
      cr0: this.get64('CR0'),
      cr2: this.get64('CR2'),
      cr3: this.get64('CR3'),
      cr4: this.get64('CR4'),
      cr8: this.get64('CR8'),
      efer: this.get64('EFER'),
      dr: [this.dr(0), this.dr(1), this.dr(2), this.dr(3), this.dr(6), this.dr(7)],
      msrs: Object.fromEntries(STATE_MSRS.map((name) => [name, this.get64(name)])),
      cpl: this.cpl,
    };
  }

  write(state: Partial<VcpuState>): void {
    for (const [i, name] of GPR_NAMES.entries()) if (state[name] !== undefined) this.setGpr(i, state[name]);
    if (state.rip !== undefined) this.rip = state.rip;
    if (state.rflags !== undefined) this.rflags = Number(state.rflags);
    for (const [i, name] of SEGMENT_NAMES.entries()) {
      if (state.segments?.[name]) this.setSegment(i, state.segments[name]);
    }
    if (state.ldtr) this.setSegment(SEG.LDTR, state.ldtr);
    if (state.tr) this.setSegment(SEG.TR, state.tr);
    if (state.gdtr) {
      this.set64('GDTR_BASE', state.gdtr.base);
      this.gdtrLimit = state.gdtr.limit;
    }
    if (state.idtr) {
      this.set64('IDTR_BASE', state.idtr.base);
      this.idtrLimit = state.idtr.limit;
    }
    for (const [key, name] of CONTROL) if (state[key] !== undefined) this.set64(name, state[key]);
    if (state.dr) for (const [i, n] of [0, 1, 2, 3, 6, 7].entries()) this.setDr(n, state.dr[i] as bigint);
    for (const name of STATE_MSRS) if (state.msrs?.[name] !== undefined) this.set64(name, state.msrs[name]);
    if (state.cpl !== undefined) this.cpl = state.cpl;
  }
}

const CONTROL = [
  ['cr0', 'CR0'],
  ['cr2', 'CR2'],
  ['cr3', 'CR3'],
  ['cr4', 'CR4'],
  ['cr8', 'CR8'],
  ['efer', 'EFER'],
] as const;

/** The model-specific registers kept in the state, by their names in VcpuState.msrs. */
export const STATE_MSRS = [
  'STAR',
  'LSTAR',
  'CSTAR',
  'SFMASK',
  'KERNEL_GS_BASE',
  'SYSENTER_CS',
  'SYSENTER_ESP',
  'SYSENTER_EIP',
  'PAT',
  'TSC_OFFSET',
  'APIC_BASE',
  'TSC_AUX',
] as const satisfies readonly Register64[];

function drIndex(number: number): number {
  return number < 4 ? number : number - 2; // DR6 and DR7 follow DR0-3; DR4 and DR5 are their aliases (CR4.DE clear)
}
