/** A hand-assembled PV guest on the real engine: 1 MiB of scrambled frames, the builder's kind of page tables, a page of
 * code at CODE, and the Xen personality behind it. Tests run it instruction by instruction and look at its registers. */
import { Cpu } from '../../../src/engine/cpu.ts';
import { GDT_LIMIT, GDT_VIRT_START, TSS_VIRT, XEN_SELECTOR } from '../../../src/layout/xen/addresses.ts';
import { machineFrames, pfn } from '../../../src/memory/machine-frames.ts';
import type { GuestEnd, Personality } from '../../../src/personality/personality.ts';
import { createXenPv } from '../../../src/personality/xen/index.ts';
import { type CpuModel, DEFAULT_MODEL } from '../../../src/x86/cpuid.ts';
import { flatCode64, flatData, nullSegment } from '../../../src/x86/vcpu-state.ts';

export const PAGES = 256;
export const VIRT_BASE = 0xffff_ffff_8000_0000n;
export const va = (frame: number, offset = 0): bigint => VIRT_BASE + BigInt(frame * 4096 + offset);
/** PFNs. USER_L4 is a second root: the same tables below another top. */
export const PFN = { code: 16, data: 32, stack: 48, kernelStack: 50, page: 56, console: 60, store: 61 } as const;
export const TABLES = { l4: 240, l3: 241, l2: 242, l1: 243, userL4: 244 } as const;
export const CODE = va(PFN.code);
export const DATA = va(PFN.data);
export const STACK_TOP = va(PFN.stack + 1);
/** For what a test's handler is; far from its code. */
export const HANDLER = CODE + 0x800n;
export const USER_CODE = CODE + 0xc00n;
/** Where 32-bit programs see it. */
export const USER_CODE32 = USER_CODE - VIRT_BASE;
export const PORTS = { store: 1, console: 2 } as const;
export const RTC_SECONDS = 0x1_2345_6789;

const REGISTERS = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const; // biome-ignore format: a list
export type Register = (typeof REGISTERS)[number];

/** Instructions as bytes. */
export const SYSCALL = [0x0f, 0x05];
export const HLT = [0xf4];
export const NOP = [0x90];
export const SPIN = [0xeb, 0xfe];
export function mov(register: Register, value: bigint | number): number[] {
  const number = REGISTERS.indexOf(register);
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
  return [0x48 | (number >> 3), 0xb8 | (number & 7), ...bytes];
}
/** Number in RAX, arguments, SYSCALL: at most seven instructions. */
export function hypercall(number: number, ...args: (bigint | number)[]): number[] {
  const registers = ['rdi', 'rsi', 'rdx', 'r10', 'r8'] as const;
  return [...args.flatMap((value, i) => mov(registers[i], value)), ...mov('rax', number), ...SYSCALL];
}

export type GuestOptions = {
  model?: CpuModel;
  hypercallPage?: boolean;
  order?: 'identity' | { scrambled: number };
  reference?: boolean;
};

export class PvGuest {
  readonly cpu: Cpu;
  readonly personality: Personality;
  readonly ends: GuestEnd[] = [];
  readonly frames;
  text = '';
  readonly #view: DataView;

  constructor(code: readonly number[] = [], options: GuestOptions = {}) {
    const frames = machineFrames(PAGES, options.order ?? { scrambled: 7 });
    this.frames = frames;
    const never = (): never => {
      throw new Error('no device is behind a PV guest');
    };
    this.cpu = Cpu.create({
      ramSize: Math.ceil((frames.end * 4096) / 65536) * 65536,
      cpuModel: options.model ?? DEFAULT_MODEL,
      reference: options.reference,
      host: {
        portRead: (port, size) => this.personality.portRead(port, size),
        portWrite: never,
        mmioRead: () => 0xffff_ffff,
        mmioWrite: () => undefined,
        interruptPending: () => this.personality.interruptPending(),
        acknowledgeInterrupt: never,
      },
    });
    this.#view = new DataView(this.cpu.buffer, this.cpu.ramOffset, this.cpu.ramSize);
    this.#buildTables();
    this.write(CODE, code);
    this.#start();
    this.personality = createXenPv(
      {
        cpu: this.cpu,
        console: (byte) => {
          this.text += String.fromCharCode(byte);
        },
        end: (end) => this.ends.push(end),
        rtcSeconds: RTC_SECONDS,
      },
      {
        frames,
        rootPfn: pfn(TABLES.l4),
        consolePfn: pfn(PFN.console),
        storePfn: pfn(PFN.store),
        ports: PORTS,
        hypercallPage: options.hypercallPage ? pfn(PFN.page) : undefined,
      },
    );
    this.cpu.hooks = this.personality;
  }

  #buildTables(): void {
    const set = (table: number, index: number, frame: number, flags: number) =>
      this.#view.setBigUint64(this.maddr(table) + index * 8, BigInt(this.maddr(frame)) | BigInt(flags), true);
    set(TABLES.l4, 511, TABLES.l3, 0x067);
    set(TABLES.userL4, 511, TABLES.l3, 0x067);
    set(TABLES.l3, 510, TABLES.l2, 0x067);
    // The same once more from address 0 on, for programs of 32 bits.
    for (const root of [TABLES.l4, TABLES.userL4]) set(root, 0, TABLES.l3, 0x067);
    set(TABLES.l3, 0, TABLES.l2, 0x067);
    set(TABLES.l2, 0, TABLES.l1, 0x067);
    const isTable = (frame: number) => frame >= TABLES.l4 && frame <= TABLES.userL4;
    for (let frame = 0; frame < PAGES; frame++) set(TABLES.l1, frame, frame, isTable(frame) ? 0x021 : 0x023);
  }

  #start(): void {
    const none = nullSegment();
    this.cpu.setState({
      rip: CODE,
      rsp: STACK_TOP,
      rflags: 0x202n,
      segments: {
        es: none,
        cs: flatCode64(XEN_SELECTOR.CS, 3),
        ss: flatData(XEN_SELECTOR.SS, 3),
        ds: none,
        fs: none,
        gs: none,
      },
      ldtr: none,
      tr: { selector: XEN_SELECTOR.TSS, base: TSS_VIRT, limit: 0x67, attributes: 0x8b },
      gdtr: { base: GDT_VIRT_START, limit: GDT_LIMIT },
      idtr: { base: 0n, limit: 0 },
      cr0: 0x8005_0033n,
      cr3: BigInt(this.maddr(TABLES.l4)),
      cr4: 0x660n,
      efer: 0xd01n,
      cpl: 3,
    });
  }

  /** Machine address of a guest frame. */
  maddr(frame: number): number {
    return this.frames.p2m[frame] * 4096;
  }
  #at(address: bigint): number {
    const offset = Number(address - VIRT_BASE);
    return this.maddr(Math.floor(offset / 4096)) + (offset % 4096);
  }

  /** By the linear addresses of the first mapping, within a page. */
  write(address: bigint, bytes: readonly number[] | Uint8Array): void {
    for (const [i, byte] of bytes.entries()) {
      const at = this.#at(address + BigInt(i));
      this.#view.setUint8(at, byte);
      this.cpu.physicalWritten(at, 1);
    }
  }
  read64(address: bigint): bigint {
    return this.#view.getBigUint64(this.#at(address), true);
  }
  write64(address: bigint, ...values: (bigint | number)[]): void {
    const bytes = new Uint8Array(8 * values.length);
    const view = new DataView(bytes.buffer);
    for (const [i, value] of values.entries()) view.setBigUint64(8 * i, BigInt.asUintN(64, BigInt(value)), true);
    this.write(address, bytes);
  }
  read32(address: bigint): number {
    return this.#view.getUint32(this.#at(address), true);
  }
  write32(address: bigint, ...values: number[]): void {
    this.write(address, new Uint8Array(new Uint32Array(values).buffer));
  }
  read8(address: bigint): number {
    return this.#view.getUint8(this.#at(address));
  }
  /** Words from `address` up. */
  words(address: bigint, count: number): bigint[] {
    return Array.from({ length: count }, (_, i) => this.read64(address + BigInt(8 * i)));
  }
  readonly sharedInfo = {
    at: () => this.frames.hypervisor.sharedInfo.first * 4096,
    get8: (offset: number) => this.#view.getUint8(this.sharedInfo.at() + offset),
    set8: (offset: number, value: number) => this.#view.setUint8(this.sharedInfo.at() + offset, value),
    get64: (offset: number) => this.#view.getBigUint64(this.sharedInfo.at() + offset, true),
    set64: (offset: number, value: bigint) => this.#view.setBigUint64(this.sharedInfo.at() + offset, value, true),
  };
  /** All of machine memory. */
  get machine(): Uint8Array {
    return new Uint8Array(this.cpu.buffer, this.cpu.ramOffset, this.frames.end * 4096);
  }

  reg(register: Register): bigint {
    return this.cpu.state.gpr(REGISTERS.indexOf(register));
  }
  setReg(register: Register, value: bigint | number): void {
    this.cpu.state.setGpr(REGISTERS.indexOf(register), BigInt.asUintN(64, BigInt(value)));
  }
  get rip(): bigint {
    return this.cpu.state.rip;
  }

  /** Runs `count` instructions, or until the guest has ended; time passes while it is blocked. */
  run(count = 1): this {
    const until = this.cpu.instructions + count;
    for (let turns = 0; turns < 100_000 && this.cpu.instructions < until && this.ends.length === 0; turns++) {
      const { cpu, personality } = this;
      let next = personality.nextEvent();
      if (next !== undefined && next <= cpu.now) {
        personality.runEvents();
        next = personality.nextEvent();
      }
      const budget = next === undefined ? until : Math.min(until, cpu.instructions + Math.max(1, next - cpu.now));
      const exit = cpu.run(budget);
      if (exit.kind === 'halt' && !personality.interruptPending()) {
        next = personality.nextEvent();
        if (next === undefined) return this;
        if (next > cpu.now) cpu.idleNs += next - cpu.now;
        personality.runEvents();
      } else if (exit.kind !== 'budget' && exit.kind !== 'event' && exit.kind !== 'halt') {
        throw new Error(`the CPU stopped: ${JSON.stringify(exit, (_, v) => (typeof v === 'bigint' ? String(v) : v))}`);
      }
    }
    return this;
  }

  /** Lets the guest make one hypercall, from where it is, and gives what comes back. */
  call(number: number, ...args: (bigint | number)[]): bigint {
    const rip = this.rip;
    const at = CODE + 0xff0n;
    this.write(at, SYSCALL);
    const registers = ['rdi', 'rsi', 'rdx', 'r10', 'r8'] as const;
    for (const [i, value] of args.entries()) this.setReg(registers[i], value);
    this.setReg('rax', number);
    this.cpu.state.rip = at;
    this.run(1);
    if (this.rip === at + 2n) this.cpu.state.rip = rip;
    return BigInt.asIntN(64, this.reg('rax'));
  }

  /** set_trap_table with the vectors' handlers: DPL and bit 2 in `flags`. */
  setTraps(...entries: { vector: number; address?: bigint; flags?: number }[]): void {
    const words = entries.flatMap(({ vector, address = HANDLER, flags = 0 }) => [
      BigInt(vector | (flags << 8) | (XEN_SELECTOR.CS << 16)),
      address,
    ]);
    this.write64(DATA + 0xe00n, ...words, 0n, 0n);
    const result = this.call(0, DATA + 0xe00n);
    if (result !== 0n) throw new Error(`set_trap_table: ${result}`);
  }

  /** callback_op register. */
  setCallback(type: number, address: bigint, flags = 0): bigint {
    this.write64(DATA + 0xf80n, type | (flags << 16), address);
    return this.call(30, 0, DATA + 0xf80n);
  }

  /** Leaves the kernel for USER_CODE by iret, with a root of its own. */
  enterUser(code: readonly number[], rflags = 0x202n, bits: 32 | 64 = 64): this {
    this.write(USER_CODE, code);
    this.write64(DATA + 0xf00n, 15, BigInt(this.maddr(TABLES.userL4)) >> 12n, 0);
    if (this.call(26, DATA + 0xf00n, 1, 0, 0x7ff0) !== 0n) throw new Error('no user root');
    if (this.call(3, XEN_SELECTOR.SS, va(PFN.kernelStack + 1)) !== 0n) throw new Error('no kernel stack');
    const rsp = STACK_TOP - 0x200n;
    const [rip, cs] = bits === 64 ? [USER_CODE, XEN_SELECTOR.CS] : [USER_CODE32, XEN_SELECTOR.USER_CS32];
    this.write64(rsp, 0x11, 0x22, 0x33, 0, rip, cs, rflags, STACK_TOP - 0x400n, XEN_SELECTOR.SS);
    this.setReg('rsp', rsp);
    this.call(23);
    if (this.rip !== rip) throw new Error('iret did not arrive');
    return this;
  }
}
