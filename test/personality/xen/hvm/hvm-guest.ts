/** A hand-assembled PVH guest on the whole machine: its code lies at CODE, its data at DATA, and it stands where a PVH
 * kernel is entered, in 32-bit code with paging off; or, at wish, in 64-bit code on an identity map. */

import { LONG_MODE, longModeState, longModeWrites } from '../../../../src/boot/first-state.ts';
import { planBoot } from '../../../../src/boot/index.ts';
import { Machine } from '../../../../src/machine/machine.ts';
import { elf, pvhNote } from '../../../boot/files.ts';

export const CODE = 0x10_0000;
export const DATA = 0x11_0000;
/** The handler of the callback vector in `withInterrupts`. */
export const HANDLER = CODE + 0x800;
export const IDT = 0x12_0000;
export const MEMORY = 4 * 2 ** 20;
export const VECTOR = 0xf3;
export const PORTS = { store: 1, console: 2 } as const;
export const SPECIAL = { store: 0xfeffc000, console: 0xfefff000 } as const;

export const VMMCALL = [0x0f, 0x01, 0xd9];
export const VMCALL = [0x0f, 0x01, 0xc1];
export const STI = [0xfb];
export const CLI = [0xfa];
export const HLT = [0xf4];
export const NOP = [0x90];
export const SPIN = [0xeb, 0xfe];

const kernel = elf({
  bits: 32,
  entry: CODE,
  segments: [{ paddr: CODE, bytes: new Uint8Array(0x1000).fill(0x90) }],
  notes: [pvhNote(CODE)],
});

const ARGUMENTS = {
  64: ['rdi', 'rsi', 'rdx', 'r10', 'r8'],
  32: ['rbx', 'rcx', 'rdx', 'rsi', 'rdi'],
} as const;

export class HvmGuest {
  readonly machine: Machine;
  readonly bits: 32 | 64;
  readonly #view: DataView;

  private constructor(machine: Machine, bits: 32 | 64) {
    this.machine = machine;
    this.bits = bits;
    const { buffer, byteOffset } = machine.memory.bytes(0, MEMORY);
    this.#view = new DataView(buffer, byteOffset, MEMORY);
    if (bits === 32) return;
    for (const { at, bytes } of longModeWrites()) machine.memory.write(at, bytes);
    machine.vcpu.setState(longModeState({ rip: BigInt(CODE), rsp: BigInt(DATA + 0xf000), ...LONG_MODE }));
  }

  static async create(bits: 32 | 64 = 64, options: Parameters<typeof Machine.create>[1] = {}): Promise<HvmGuest> {
    const plan = planBoot(kernel, { via: 'xen-pvh', memory: MEMORY });
    return new HvmGuest(await Machine.create(plan, options), bits);
  }

  write(at: number, bytes: readonly number[] | Uint8Array): void {
    this.machine.memory.write(at, Uint8Array.from(bytes));
  }
  /** Words of the guest's size. */
  words(at: number, ...values: (number | bigint)[]): void {
    const size = this.bits / 8;
    for (const [i, value] of values.entries()) this.number(at + i * size, value, size as 4 | 8);
  }
  number(at: number, value: number | bigint, size: 1 | 2 | 4 | 8): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
    this.write(at, bytes.subarray(0, size));
  }
  u8(at: number): number {
    return this.#view.getUint8(at);
  }
  u32(at: number): number {
    return this.#view.getUint32(at, true);
  }
  u64(at: number): bigint {
    return this.#view.getBigUint64(at, true);
  }

  /** Runs these instructions from CODE on, and no more. */
  run(code: readonly number[], instructions: number, registers: Record<string, bigint> = {}): this {
    this.write(CODE, code);
    this.machine.vcpu.setState({ ...registers, rip: BigInt(CODE) });
    this.machine.step(instructions);
    return this;
  }

  /** One hypercall by VMMCALL: what comes back, as a signed number. */
  call(number: number, ...args: (number | bigint)[]): number {
    return this.callBy(VMMCALL, number, ...args);
  }
  callBy(instruction: readonly number[], number: number, ...args: (number | bigint)[]): number {
    const registers: Record<string, bigint> = { rax: BigInt(number) };
    for (const [i, value] of args.entries())
      registers[ARGUMENTS[this.bits][i]] = BigInt.asUintN(this.bits, BigInt(value));
    this.run(instruction, 1, registers);
    return Number(BigInt.asIntN(this.bits, this.machine.vcpu.state().rax));
  }

  /** memory_op add_to_physmap. */
  place(space: number, index: number, frame: number): number {
    this.number(DATA, 0x7ff0, 4);
    this.number(DATA + 4, space, 4);
    this.words(DATA + 8, index, frame);
    return this.call(12, 7, DATA);
  }

  setParam(index: number, value: bigint): number {
    this.number(DATA, 0x7ff0, 4);
    this.number(DATA + 4, index, 4);
    this.number(DATA + 8, value, 8);
    return this.call(34, 0, DATA);
  }
  getParam(index: number): number | bigint {
    this.number(DATA, 0x7ff0, 4);
    this.number(DATA + 4, index, 4);
    const result = this.call(34, 1, DATA);
    return result === 0 ? this.u64(DATA + 8) : result;
  }

  /** event_channel_op on one port. */
  evtchn(command: number, port: number): number {
    this.number(DATA, port, 4);
    return this.call(32, command, DATA);
  }

  /** An IDT whose callback vector leads to HANDLER, with this code there; the shared page at frame `shared`. */
  withCallback(handler: readonly number[], shared: number): this {
    this.write(HANDLER, handler);
    for (const vector of [VECTOR, 0x20]) {
      this.number(IDT + vector * 16, HANDLER & 0xffff, 2);
      this.number(IDT + vector * 16 + 2, 0x10, 2);
      this.number(IDT + vector * 16 + 4, 0x8e00, 2);
      this.number(IDT + vector * 16 + 6, HANDLER >> 16, 2);
      this.number(IDT + vector * 16 + 8, 0, 8);
    }
    this.machine.vcpu.setState({ idtr: { base: BigInt(IDT), limit: 0xfff } });
    if (this.place(0, 0, shared) !== 0) throw new Error('shared_info has not moved');
    if (this.setParam(0, (2n << 56n) | BigInt(VECTOR)) !== 0) throw new Error('no callback');
    return this;
  }

  get rip(): number {
    return Number(this.machine.vcpu.state().rip);
  }
  get missing(): readonly string[] {
    return this.machine.outcome().missing;
  }
}
