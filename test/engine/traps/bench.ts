/** Bench: a CPU with tables and memory around it, for tests that look at one trap of the engine at a time.
 *
 * A test runs in every form: as blocks, one instruction at a time, and in quanta of 1 and 7 instructions. What the
 * guest can see must be the same in all of them, counts included.
 * Memory is identity-mapped (64-bit: 4 KiB pages, all user and writable; 32-bit: paging off). Every exception leads to
 * a HLT of its own at level 0, so that it is seen as a kernel sees it: by vector, frame and count.
 * May not: reach into the engine beyond Cpu's public face. */
import { describe } from 'vitest';
import type { CpuHost } from '../../../src/engine/core.ts';
import { Cpu, type CpuExit } from '../../../src/engine/cpu.ts';
import { CR0, CR4, EFER, RFLAGS, SYSTEM_TYPE } from '../../../src/x86/constants.ts';
import { MAX_MODEL } from '../../../src/x86/cpuid.ts';
import { encodeGate, encodeGate64, encodeSegment, encodeSystem64, type Gate } from '../../../src/x86/descriptor.ts';
import {
  flatCode32,
  flatCode64,
  flatData,
  GPR_NAMES,
  type GprName,
  nullSegment,
  type Segment,
  type VcpuState,
} from '../../../src/x86/vcpu-state.ts';

/** '48 89 03' and so on: each line an instruction, with its assembly in a comment behind it. */
export const hex = (...lines: string[]): number[] =>
  lines.join(' ').split(/\s+/).filter(Boolean).map((byte) => Number.parseInt(byte, 16)); // biome-ignore format: short

export const RAM_SIZE = 4 << 20;
export const AT = {
  PML4: 0x1000, // then PDPT, PD and two page tables
  PT: 0x4000,
  GDT: 0x8000,
  IDT: 0x9000,
  TSS: 0xa000,
  HANDLERS: 0xb000, // 16 bytes for each vector
  KERNEL_STACK: 0x2_0000, // top: of level 0 when entered from level 3
  IST1: 0x2_4000,
  STACK: 0x8_0000,
  CODE: 0x10_0000,
  DATA: 0x20_0000,
} as const;
export const SELECTOR = { code: 0x10, data: 0x18, data3: 0x23, code3: 0x2b, code32: 0x30, tss: 0x40, code3of32: 0x53 };
const WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17]);
/** A page-table entry that lets everything happen, A and D set. */
export const OPEN = 0x67;

export class BenchHost implements CpuHost {
  readonly log: string[] = [];
  pending: number | undefined;
  portValue = 0x5a5a_5a5a;
  onPort: ((port: number) => void) | undefined;
  onMmio: ((gpa: number) => void) | undefined;
  nothingMoved?: () => boolean;
  portRead(port: number): number {
    this.onPort?.(port);
    this.log.push(`in ${port.toString(16)}`);
    return this.portValue;
  }
  portWrite(port: number, size: number, value: number): void {
    this.onPort?.(port);
    this.log.push(`out${size} ${port.toString(16)}=${value.toString(16)}`);
  }
  mmioRead(gpa: number, size: number): number {
    this.onMmio?.(gpa);
    this.log.push(`read${size} ${gpa.toString(16)}`);
    return 0x11;
  }
  mmioWrite(gpa: number, size: number, value: number): void {
    this.onMmio?.(gpa);
    this.log.push(`write${size} ${gpa.toString(16)}=${value.toString(16)}`);
  }
  interruptPending(): boolean {
    return this.pending !== undefined;
  }
  acknowledgeInterrupt(): number {
    const vector = this.pending as number;
    this.pending = undefined;
    return vector;
  }
}

export type Form = { name: string; plain?: boolean; quantum?: number };
export const FORMS: readonly Form[] = [
  { name: 'in blocks' },
  { name: 'one at a time', plain: true },
  { name: 'in quanta of 1', quantum: 1 },
  { name: 'in quanta of 7', quantum: 7 },
];

/** What stopped the guest: an exception's handler, or the end of the code. */
export type Stop = {
  vector: number | undefined;
  errorCode: number | undefined;
  cr2: bigint | undefined;
  rip: bigint;
  rflags: number;
  rsp: bigint;
  cs: number;
  /** Instructions before it, the HLT of the handler (or of the code) left out. */
  count: number;
};

const cpus = new Map<string, { cpu: Cpu; host: { current: CpuHost } }>();

/** One CPU for each form, used again and again. */
function cpuFor(form: Form, host: CpuHost): Cpu {
  let entry = cpus.get(form.name);
  if (entry === undefined) {
    const current = { current: host };
    const relay: CpuHost = {
      portRead: (port, size) => current.current.portRead(port, size),
      portWrite: (port, size, value) => current.current.portWrite(port, size, value),
      mmioRead: (gpa, size) => current.current.mmioRead(gpa, size),
      mmioWrite: (gpa, size, value) => current.current.mmioWrite(gpa, size, value),
      interruptPending: () => current.current.interruptPending(),
      acknowledgeInterrupt: () => current.current.acknowledgeInterrupt(),
      nothingMoved: () => current.current.nothingMoved?.() ?? false,
    };
    const { plain, quantum } = form;
    entry = { cpu: Cpu.create({ ramSize: RAM_SIZE, cpuModel: MAX_MODEL, host: relay, plain, quantum }), host: current };
    cpus.set(form.name, entry);
  }
  entry.host.current = host;
  return entry.cpu;
}

export class Bench {
  readonly cpu: Cpu;
  readonly host = new BenchHost();
  readonly ram: DataView;
  readonly bytes: Uint8Array;
  readonly is64: boolean;
  #start = 0;

  constructor(form: Form, mode: 64 | 32 = 64) {
    this.is64 = mode === 64;
    this.cpu = cpuFor(form, this.host);
    this.ram = new DataView(this.cpu.buffer, this.cpu.ramOffset, RAM_SIZE);
    this.bytes = new Uint8Array(this.cpu.buffer, this.cpu.ramOffset, RAM_SIZE);
    this.bytes.fill(0);
    this.cpu.physicalWritten(0, RAM_SIZE);
    this.cpu.setBreakpoints([]);
    this.cpu.idleNs = 0;
    this.#tables();
    this.#state();
    this.#start = this.cpu.instructions;
  }

  #tables(): void {
    const { ram } = this;
    if (this.is64) {
      for (const [at, entry] of [[AT.PML4, 0x2067n], [0x2000, 0x3067n], [0x3000, 0x4067n], [0x3008, 0x5067n]] as const)
        ram.setBigUint64(at, entry, true); // biome-ignore format: short
      for (let page = 0; page < RAM_SIZE; page += 4096) this.map(page, page);
    }
    const code = this.is64 ? flatCode64(0) : flatCode32(0);
    const gdt = (selector: number, segment: Segment): void =>
      ram.setBigUint64(AT.GDT + (selector & ~7), encodeSegment(segment), true);
    gdt(SELECTOR.code, code);
    gdt(SELECTOR.data, flatData(0));
    gdt(SELECTOR.code32, flatCode32(0));
    gdt(SELECTOR.code3, this.is64 ? flatCode64(0, 3) : flatCode32(0, 3));
    gdt(SELECTOR.data3, flatData(0, 3));
    gdt(SELECTOR.code3of32, flatCode32(0, 3));
    const tss = { base: BigInt(AT.TSS), limit: 0x67, attributes: 0x8b };
    const quads = this.is64 ? encodeSystem64(tss) : [encodeSegment(tss)];
    for (const [i, quad] of quads.entries()) ram.setBigUint64(AT.GDT + SELECTOR.tss + 8 * i, quad, true);
    ram.setUint32(AT.TSS + 4, AT.KERNEL_STACK, true);
    if (this.is64) ram.setUint32(AT.TSS + 0x24, AT.IST1, true);
    else ram.setUint32(AT.TSS + 8, SELECTOR.data, true);
    ram.setUint16(AT.TSS + 0x66, 0x68, true);
    for (let v = 0; v < 256; v++) {
      this.bytes[AT.HANDLERS + v * 16] = 0xf4;
      this.gate(v, { dpl: v === 3 || v >= 0x80 ? 3 : 0 });
    }
  }

  #state(): void {
    const data = flatData(SELECTOR.data);
    const state: Partial<VcpuState> = {
      rip: BigInt(AT.CODE),
      rflags: 2n,
      cpl: 0,
      segments: {
        cs: this.is64 ? flatCode64(SELECTOR.code) : flatCode32(SELECTOR.code),
        ss: data, ds: data, es: data, fs: data, gs: data,
      },
      ldtr: nullSegment(),
      tr: { selector: SELECTOR.tss, base: BigInt(AT.TSS), limit: 0x67, attributes: 0x8b },
      gdtr: { base: BigInt(AT.GDT), limit: 0x7f },
      idtr: { base: BigInt(AT.IDT), limit: this.is64 ? 0xfff : 0x7ff },
      cr0: BigInt(CR0.PE | CR0.ET | CR0.NE | CR0.WP) + (this.is64 ? BigInt(CR0.PG) : 0n),
      cr2: 0n,
      cr3: BigInt(AT.PML4),
      cr4: this.is64 ? BigInt(CR4.PAE | CR4.DE) : BigInt(CR4.DE),
      efer: this.is64 ? BigInt(EFER.LME | EFER.LMA | EFER.NXE | EFER.SCE) : 0n,
      dr: [0n, 0n, 0n, 0n, 0xffff_0ff0n, 0x400n],
    }; // biome-ignore format: segments in one line
    for (const name of GPR_NAMES) state[name] = 0n;
    state.rsp = BigInt(AT.STACK);
    this.cpu.state.shadow = 0;
    this.cpu.setState(state);
  }

  /** The entry of a 4 KiB page below 4 MiB; 64-bit only. `flags` as in PTE, bit 63 as 'nx'. */
  map(linear: number, physical: number, flags: number = OPEN, nx = false): this {
    const at = AT.PT + (linear >> 12) * 8;
    this.cpu.physicalWritten(at, 8);
    this.ram.setBigUint64(at, BigInt(physical) | BigInt(flags) | (nx ? 1n << 63n : 0n), true);
    return this;
  }
  entry(linear: number): number {
    return Number(this.ram.getBigUint64(AT.PT + (linear >> 12) * 8, true) & 0xfffn);
  }
  gate(vector: number, gate: Partial<Gate> = {}): this {
    const whole = {
      selector: SELECTOR.code,
      offset: BigInt(AT.HANDLERS + 16 * vector),
      type: SYSTEM_TYPE.INTERRUPT_GATE,
      ...gate,
    };
    const quads = this.is64 ? encodeGate64(whole) : [encodeGate(whole)];
    for (const [i, quad] of quads.entries())
      this.ram.setBigUint64(AT.IDT + 8 * (vector * quads.length + i), quad, true);
    return this;
  }
  /** Code of a handler, instead of its HLT. */
  handler(vector: number, bytes: readonly number[]): this {
    return this.put(AT.HANDLERS + 16 * vector, bytes);
  }
  /** As a device writes: the code map is told. */
  put(at: number, bytes: readonly number[]): this {
    this.cpu.physicalWritten(at, bytes.length);
    this.bytes.set(bytes, at);
    return this;
  }
  code(bytes: readonly number[], at: number = AT.CODE): this {
    this.cpu.state.rip = BigInt(at);
    return this.put(at, bytes);
  }
  set(registers: Partial<Record<GprName | 'rip' | 'rflags', bigint | number>>): this {
    for (const [name, value] of Object.entries(registers)) {
      if (name === 'rip') this.cpu.state.rip = BigInt(value);
      else if (name === 'rflags') {
        this.cpu.state.rflags = Number(value);
        this.cpu.modeChanged();
      } else this.cpu.state.setGpr(GPR_NAMES.indexOf(name as GprName), BigInt.asUintN(64, BigInt(value)));
    }
    return this;
  }
  get(name: GprName): bigint {
    return this.cpu.state.gpr(GPR_NAMES.indexOf(name));
  }
  /** Level 3, flat. */
  asUser(): this {
    const data = flatData(SELECTOR.data3, 3);
    const cs = this.is64 ? flatCode64(SELECTOR.code3, 3) : flatCode32(SELECTOR.code3, 3);
    this.cpu.setState({ cpl: 3, segments: { cs, ss: data, ds: data, es: data, fs: data, gs: data } });
    return this;
  }
  segment(name: 'es' | 'ss' | 'ds' | 'fs' | 'gs' | 'cs', segment: Partial<Segment>): this {
    const { segments } = this.cpu.vcpuState();
    this.cpu.setState({ segments: { ...segments, [name]: { ...segments[name], ...segment } } });
    return this;
  }
  /** Bits 16-31 of DR7 are control fields, the low ones enable. */
  breakpoint(n: 0 | 1 | 2 | 3, address: number | bigint, type: 'execute' | 'write' | 'access', length = 1): this {
    const dr = [...this.cpu.vcpuState().dr] as VcpuState['dr'];
    dr[n] = BigInt(address);
    const rw = { execute: 0n, write: 1n, access: 3n }[type];
    const size = BigInt({ 1: 0, 2: 1, 4: 3, 8: 2 }[length] as number);
    dr[5] |= (2n << BigInt(2 * n)) | ((rw | (size << 2n)) << BigInt(16 + 4 * n));
    this.cpu.setState({ dr });
    return this;
  }

  get count(): number {
    return this.cpu.instructions - this.#start;
  }

  /** Runs until `count` more instructions have completed, whatever happens on ports. */
  steps(count: number): CpuExit {
    const until = this.cpu.instructions + count;
    for (;;) {
      const exit = this.cpu.run(until);
      const wakes = exit.kind === 'halt' && this.host.interruptPending() && (this.cpu.state.rflags & RFLAGS.IF) !== 0;
      if (exit.kind !== 'event' && !wakes) return exit;
    }
  }

  /** Runs to a HLT and says which. */
  run(limit = 100_000): Stop {
    const exit = this.steps(limit);
    if (exit.kind !== 'halt') throw new Error(`ended by ${JSON.stringify(exit)} at ${this.cpu.state.rip.toString(16)}`);
    const { state } = this.cpu;
    const at = Number(state.rip) - 1 - AT.HANDLERS;
    const count = this.count - 1;
    const inHandler = at >= 0 && at < 4096 && at % 16 === 0;
    if (!inHandler) {
      return {
        vector: undefined, errorCode: undefined, cr2: undefined, rip: state.rip, rflags: state.rflags,
        rsp: state.gpr(4), cs: state.selector(1), count,
      }; // biome-ignore format: short
    }
    const vector = at / 16;
    const size = this.is64 ? 8 : 4;
    const word = (n: number): bigint => this.cpu.readLinear(state.gpr(4) + BigInt(n * size), size, true);
    const skip = WITH_ERROR_CODE.has(vector) ? 1 : 0;
    const cs = Number(word(skip + 1) & 0xffffn);
    const pushed = this.is64 || (cs & 3) !== 0;
    return {
      vector,
      errorCode: skip ? Number(word(0)) : undefined,
      cr2: vector === 14 ? state.get64('CR2') : undefined,
      rip: word(skip),
      cs,
      rflags: Number(word(skip + 2)),
      rsp: pushed ? word(skip + 3) : state.gpr(4) + BigInt((skip + 3) * size),
      count,
    };
  }
}

/** The same test in every form. */
export function inEveryForm(name: string, test: (form: Form) => void): void {
  describe.each(FORMS)('$name', (form) => {
    describe(name, () => test(form));
  });
}

/** Arithmetic flags by their letters. */
export const flags = (letters: string): number =>
  [...letters].reduce((sum, letter) => sum | ({ C: 1, P: 4, A: 16, Z: 64, S: 128, O: 0x800 }[letter] ?? 0), 0);
export const ARITHMETIC = 0x8d5;
export { RFLAGS };
