/** InterpreterDriver: the engine behind CpuDriver, as a user process on a small kernel's page tables.
 *
 * The kernel half lies at the top of the address space: a GDT and LDT as given, a TSS, and an IDT whose every gate leads
 * to a HLT of its own at CPL 0. So an exception is seen as a kernel sees it, by the frame on the stack, and delivery is
 * tested with every faulting case. May not: reach into the engine beyond Cpu's public face.
 * Next: test/oracle/replay.ts. */
import { Cpu, type CpuOptions } from '../../src/engine/cpu.ts';
import { MAX_MODEL } from '../../src/x86/cpuid.ts';
import { GPR_NAMES, type SegmentName, type VcpuState } from '../../src/x86/vcpu-state.ts';
import type { CpuDriver, CpuFault, CpuStart, CpuWorld } from './cpu-driver.ts';

const KERNEL = 0xffff_8000_0000_0000n;
const AT = { PML4: 0x1000, GDT: 0x2000, LDT: 0x3000, IDT: 0x4000, TSS: 0x5000, STACK: 0x7000, HANDLERS: 0x8000 };
const FREE = 0x1_0000; // page tables and world pages from here
const RAM_SIZE = 4 << 20;
const STACK_TOP = KERNEL + BigInt(AT.STACK) + 0x1000n;
const WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17, 21]);
const PAGE_FAULT = 14;
const KERNEL_CS = 0x10;
const SEGMENTS: SegmentName[] = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];

const host = {
  portRead: () => 0xffff_ffff,
  portWrite: () => {},
  mmioRead: () => 0xffff_ffff,
  mmioWrite: () => {},
  interruptPending: () => false,
  acknowledgeInterrupt: () => 0xff,
};

export class InterpreterDriver implements CpuDriver {
  readonly name: string;
  readonly cpu: Cpu;
  readonly #ram: DataView;
  readonly #bytes: Uint8Array;
  #free = FREE;
  #world!: CpuWorld;
  #physical = new Map<number, number>();
  #fault: CpuFault | undefined;
  #frame: { rip: bigint; cs: number; rflags: bigint; rsp: bigint; ss: number } | undefined;

  constructor(options: Partial<CpuOptions> = {}) {
    this.name = options.plain ? 'interpreter, one at a time' : 'interpreter';
    this.cpu = Cpu.create({ ramSize: RAM_SIZE, cpuModel: MAX_MODEL, host, ...options });
    this.#ram = new DataView(this.cpu.buffer, this.cpu.ramOffset, RAM_SIZE);
    this.#bytes = new Uint8Array(this.cpu.buffer, this.cpu.ramOffset, RAM_SIZE);
  }

  enter(world: CpuWorld): void {
    this.#world = world;
    this.#bytes.set(world.gdt, AT.GDT);
    this.#bytes.set(world.ldt, AT.LDT);
    for (let v = 0; v < 256; v++) {
      const handler = KERNEL + BigInt(AT.HANDLERS + v * 16);
      const dpl = v === 3 || v === 4 ? 3 : 0;
      const at = AT.IDT + v * 16;
      this.#ram.setUint16(at, Number(handler & 0xffffn), true);
      this.#ram.setUint16(at + 2, KERNEL_CS, true);
      this.#ram.setUint16(at + 4, 0x8e00 | (dpl << 13), true);
      this.#ram.setUint16(at + 6, Number((handler >> 16n) & 0xffffn), true);
      this.#ram.setUint32(at + 8, Number(handler >> 32n), true);
      this.#bytes[AT.HANDLERS + v * 16] = 0xf4;
    }
    this.#ram.setBigUint64(AT.TSS + 4, STACK_TOP, true);
    this.#ram.setUint16(AT.TSS + 102, 0xffff, true);
    // Frames first, tables later: a range of linear addresses is then a range of RAM.
    for (const { at, bytes } of world.pages) {
      for (let i = 0; i < bytes.length; i += 0x1000) {
        const physical = this.#page();
        this.#bytes.set(bytes.subarray(i, i + 0x1000), physical);
        this.#physical.set(at + i, physical);
      }
    }
    for (let at = 0; at < FREE; at += 0x1000) this.#map(KERNEL + BigInt(at), at, 0x3n);
    for (const { at, bytes, access } of world.pages) {
      for (let i = 0; i < bytes.length; i += 0x1000) {
        const physical = this.#physical.get(at + i) as number;
        const flags = 0x65n | (access === 'rw' ? 2n : 0n) | (access === 'rx' ? 0n : 1n << 63n);
        this.#map(BigInt(at + i), physical, flags);
      }
    }
  }

  #page(): number {
    const at = this.#free;
    this.#free += 0x1000;
    if (this.#free > RAM_SIZE) throw new Error('the world does not fit the driver');
    return at;
  }

  #map(linear: bigint, physical: number, flags: bigint): void {
    let table = AT.PML4;
    for (const shift of [39n, 30n, 21n]) {
      const at = table + Number((linear >> shift) & 511n) * 8;
      const entry = this.#ram.getBigUint64(at, true);
      if (entry === 0n) {
        table = this.#page();
        this.#ram.setBigUint64(at, BigInt(table) | 0x67n, true);
      } else table = Number(entry & ~0xfffn);
    }
    this.#ram.setBigUint64(table + Number((linear >> 12n) & 511n) * 8, BigInt(physical) | flags | 0x60n, true);
  }

  load(start: CpuStart): void {
    for (const { at, bytes } of start.memory) {
      for (let i = 0; i < bytes.length; i++) {
        const page = this.#physical.get((at + i) & ~0xfff);
        if (page === undefined) continue;
        const to = page + ((at + i) & 0xfff);
        if (this.#bytes[to] === bytes[i]) continue;
        this.cpu.physicalWritten(to, 1);
        this.#bytes[to] = bytes[i];
      }
    }
    this.#fault = undefined;
    this.#frame = undefined;
    const table = (at: number) => KERNEL + BigInt(at);
    const state: Partial<VcpuState> = {
      rip: start.rip,
      rflags: start.rflags,
      segments: start.segments,
      cpl: 3,
      cr0: 0x8005_0033n,
      cr2: 0n,
      cr3: BigInt(AT.PML4),
      cr4: 0x1_0e20n,
      efer: 0xd01n,
      gdtr: { base: table(AT.GDT), limit: this.#world.gdt.length - 1 },
      idtr: { base: table(AT.IDT), limit: 0xfff },
      ldtr: { selector: 0x50, base: table(AT.LDT), limit: this.#world.ldt.length - 1, attributes: 0x82 },
      tr: { selector: 0x40, base: table(AT.TSS), limit: 0x67, attributes: 0x8b },
      dr: [0n, 0n, 0n, 0n, 0xffff_0ff0n, 0x400n],
    };
    GPR_NAMES.forEach((name, i) => {
      state[name] = start.gpr[i];
    });
    this.cpu.setState(state);
  }

  step(): CpuFault | undefined {
    const before = this.cpu.state.rip;
    const repeats = this.#isRepeated();
    for (let n = 0; n < 1_000_000; n++) {
      const exit = this.cpu.run(this.cpu.instructions + 1);
      if (exit.kind === 'unbuilt') throw new Error(`not built: ${exit.what}`);
      if (this.cpu.state.cpl === 0 || exit.kind === 'triple-fault') return this.#caught(exit.kind);
      if (!repeats || this.cpu.state.rip !== before) return undefined;
    }
    throw new Error('the instruction does not end');
  }

  run(limit: number): CpuFault | undefined {
    const until = this.cpu.instructions + limit;
    for (;;) {
      const exit = this.cpu.run(until);
      if (exit.kind === 'event') continue;
      if (exit.kind === 'unbuilt') throw new Error(`not built: ${exit.what}`);
      if (this.cpu.state.cpl === 0 || exit.kind === 'triple-fault') return this.#caught(exit.kind);
      return undefined;
    }
  }

  /** Reads the frame that delivery left on the kernel's stack. */
  #caught(kind: string): CpuFault {
    if (kind === 'triple-fault') throw new Error('triple fault');
    const { state } = this.cpu;
    const vector = Number(((state.rip - KERNEL) & 0xffffn) - BigInt(AT.HANDLERS)) >> 4;
    const rsp = Number(state.gpr(4) - KERNEL);
    const errorCode = WITH_ERROR_CODE.has(vector) ? Number(this.#ram.getBigUint64(rsp, true)) : undefined;
    const at = rsp + (errorCode === undefined ? 0 : 8);
    const word = (n: number): bigint => this.#ram.getBigUint64(at + n * 8, true);
    this.#frame = { rip: word(0), cs: Number(word(1)), rflags: word(2), rsp: word(3), ss: Number(word(4)) };
    this.#fault = { vector, errorCode };
    if (vector === PAGE_FAULT) this.#fault.cr2 = state.get64('CR2');
    return this.#fault;
  }

  /** A string instruction with F2 or F3 at RIP. */
  #isRepeated(): boolean {
    const { state } = this.cpu;
    const linear = Number(BigInt.asUintN(48, state.rip + (state.is64 ? 0n : state.base(1))));
    let repeated = false;
    for (let i = 0; i < 15; i++) {
      const page = this.#physical.get((linear + i) & ~0xfff);
      if (page === undefined) return false;
      const byte = this.#bytes[page + ((linear + i) & 0xfff)];
      if (byte === 0xf2 || byte === 0xf3) repeated = true;
      else if ([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0].includes(byte)) continue;
      else if (state.is64 && (byte & 0xf0) === 0x40) continue;
      else
        return repeated && ((byte >= 0xa4 && byte <= 0xa7) || (byte >= 0xaa && byte <= 0xaf) || (byte & 0xfc) === 0x6c);
    }
    return false;
  }

  gpr(): bigint[] {
    const all = GPR_NAMES.map((_, i) => this.cpu.state.gpr(i));
    if (this.#frame) all[4] = this.#frame.rsp;
    return all;
  }
  rip(): bigint {
    return this.#frame?.rip ?? this.cpu.state.rip;
  }
  rflags(): bigint {
    return this.#frame?.rflags ?? BigInt(this.cpu.state.rflags);
  }

  segment(name: SegmentName): { selector: number; base: bigint } {
    const number = SEGMENTS.indexOf(name);
    const frame = this.#frame;
    if (frame && (name === 'cs' || name === 'ss')) {
      const selector = name === 'cs' ? frame.cs : frame.ss;
      return { selector, base: this.#baseOf(selector) };
    }
    return { selector: this.cpu.state.selector(number), base: this.cpu.state.base(number) };
  }

  /** CS and SS were replaced by delivery: the descriptor says what their base was. */
  #baseOf(selector: number): bigint {
    const at = (selector & 4 ? AT.LDT : AT.GDT) + (selector & ~7);
    const low = this.#ram.getUint32(at, true);
    const high = this.#ram.getUint32(at + 4, true);
    return BigInt(((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0);
  }

  memory(at: number, length: number): Uint8Array {
    const first = this.#physical.get(at & ~0xfff);
    if (first === undefined) throw new Error(`no page at ${at.toString(16)}`);
    return this.#bytes.subarray(first + (at & 0xfff), first + (at & 0xfff) + length);
  }
}

export const interpreterDriver = (options?: Partial<CpuOptions>): CpuDriver => new InterpreterDriver(options);
