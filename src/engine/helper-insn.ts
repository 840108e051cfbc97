/** The instructions that are TypeScript's: every helper by name, and the running one as helpers see it.
 *
 * A new family of helpers is one file in engine/system and one line here.   Next: engine/cpu.ts. */
import { assert } from '../base/errors.ts';
import type { HelperRecord } from './blocks.ts';
import type { HelperInsn } from './core.ts';
import type { CpuState } from './cpu-state.ts';
import { RIP_BASE } from './decoder.ts';
import { controlHelpers } from './system/control.ts';
import { descriptorHelpers } from './system/descriptors.ts';
import { exceptionHelpers } from './system/exceptions.ts';
import { farHelpers } from './system/far.ts';
import { fpuHelpers } from './system/fpu-state.ts';
import { ioHelpers } from './system/io.ts';
import { maskMoveHelpers } from './system/mask-moves.ts';
import { miscHelpers } from './system/misc.ts';
import { msrHelpers } from './system/msr-access.ts';
import { segmentHelpers } from './system/segments.ts';
import { stackFlagHelpers } from './system/stack-flags.ts';
import { syscallHelpers } from './system/syscall.ts';
import type { SystemCore } from './system/system-core.ts';
import { x87Helpers } from './system/x87.ts';

/** Returns true when it set state.rip itself; throws a GuestFault with nothing changed. */
export type Helper = (core: SystemCore, insn: HelperInsn) => unknown;

const FAMILIES = [
  controlHelpers,
  msrHelpers,
  ioHelpers,
  fpuHelpers,
  maskMoveHelpers,
  x87Helpers,
  segmentHelpers,
  descriptorHelpers,
  exceptionHelpers,
  farHelpers,
  syscallHelpers,
  stackFlagHelpers,
  miscHelpers,
] as readonly Record<string, Helper>[];

export const HELPERS: Readonly<Record<string, Helper>> = merged();

function merged(): Record<string, Helper> {
  const all: Record<string, Helper> = {};
  for (const family of FAMILIES) {
    for (const [name, helper] of Object.entries(family)) {
      assert(!(name in all), `one family only has a helper named ${name}`);
      all[name] = helper;
    }
  }
  return all;
}

/** The running helper instruction: one object, pointed at each in turn. */
export class CurrentInsn implements HelperInsn {
  #record!: HelperRecord;
  readonly #state: CpuState;
  rip = 0n;
  nextRip = 0n;
  constructor(state: CpuState) {
    this.#state = state;
  }
  use(record: HelperRecord, rip: bigint, nextRip: bigint): void {
    this.#record = record;
    this.rip = rip;
    this.nextRip = nextRip;
  }
  get length(): number {
    return this.#record.length;
  }
  get name(): string {
    return this.#record.name;
  }
  get operandSize(): 2 | 4 | 8 {
    return this.#record.operandSize;
  }
  get addressSize(): 2 | 4 | 8 {
    return this.#record.addressSize;
  }
  get rep(): 0 | 2 | 3 {
    return this.#record.rep;
  }
  get reg(): number {
    return this.#record.reg;
  }
  get isMemory(): boolean {
    return this.#record.isMemory;
  }
  get rm(): number {
    return this.#record.rm;
  }
  get mod(): number {
    return this.#record.mod;
  }
  get segment(): number {
    return this.#record.segment;
  }
  get immediate(): bigint {
    return this.#record.immediate;
  }
  get immediate2(): number {
    return this.#record.immediate2;
  }
  get opcode(): number {
    return this.#record.opcode;
  }
  offset(): bigint {
    const { base, index, scale, displacement, addressBits } = this.#record;
    const state = this.#state;
    const b = base === RIP_BASE ? this.nextRip : base >= 0 ? state.gpr(base) : 0n;
    const i = index >= 0 ? state.gpr(index) << BigInt(scale) : 0n;
    return BigInt.asUintN(addressBits, b + i + BigInt(displacement));
  }
}
