/** Sequences: short random programs, as a guest has them, for what single steps cannot show.
 *
 * An engine decodes blocks, drops flags that nobody reads, fuses a comparison with its branch and keeps flags lazily.
 * These programs (arithmetic, memory, branches over code, counted loops, calls, strings) end in HLT or in a fault in the
 * midst of it, and every register, flag and byte must be as on the host then. A flag that the manual leaves undefined is
 * never read before it is defined again: the generator follows which flags may be undefined on any way to a place.
 * One class, since what may come next depends on what was put before. May not: be changed without recording again.   Next: test/oracle/native.ts. */
import { bytesOf } from './bytes.ts';
import { Random } from './random.ts';
import * as box from './sandbox.ts';
import type { Recorded } from './vectors.ts';

export type Sequence = Recorded & {
  index: number;
  at: number;
  /** By the address of each instruction: the flags that may be undefined when it is reached. */
  undefinedAt: Map<number, number>;
};

export const SEQUENCES = { 64: 3000, 32: 2000 } as const;

export const sequencesOf = (mode: 64 | 32): Sequence[] =>
  Array.from({ length: SEQUENCES[mode] }, (_, i) => sequenceOf(mode, i));

export const sequenceOf = (mode: 64 | 32, index: number): Sequence => new Program(mode, index).build();

const [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI] = [0, 1, 2, 3, 4, 5, 6, 7];
const [C, P, A, Z, S, O] = [1, 4, 0x10, 0x40, 0x80, 0x800];
const ALL = C | P | A | Z | S | O;
/** The flags that each pair of conditions reads, in the encoding's order. */
const READ_BY = [O, C, Z, C | Z, S, P, S | O, S | O | Z];

/** Registers that hold what the program relies on: two pointers to data, a small index, a loop counter. */
const KEPT = { 64: { index: 14, counter: 15 }, 32: { index: RDI, counter: RDI } } as const;
const FREE = { 64: [RAX, RCX, RDX, RSI, RDI, 8, 9, 10, 11, 12, 13], 32: [RAX, RCX, RDX, RSI] } as const;
const DATA_POINTER = BigInt(box.DATA + 0x400);
const OTHER_POINTER = BigInt(box.DATA + 0xf80);
const STACK = BigInt(box.DATA + 0x1e00);
const INDEX = 0x35n;

type Operand = { register: number } | { base: number; index?: number; scale?: number; displacement: number };

class Program {
  readonly #mode: 64 | 32;
  readonly #index: number;
  readonly #random: Random;
  readonly #code: number[] = [];
  readonly #at: number;
  readonly #undefinedAt = new Map<number, number>();
  /** Calls whose functions come behind the end: where their displacements are. */
  readonly #calls: number[] = [];
  /** Flags that may be undefined here. */
  #undefined = 0;
  #depth = 0;
  /** A loop without an index: its counter uses the register. */
  #looping = false;

  constructor(mode: 64 | 32, index: number) {
    this.#mode = mode;
    this.#index = index;
    this.#random = new Random(`sequence ${mode} #${index}`);
    this.#at = box.CODE + 0x40 + this.#random.below(64);
  }

  build(): Sequence {
    const random = this.#random;
    this.#block(random.between(5, 22));
    if (random.chance(40)) {
      this.#fault();
      this.#block(random.between(1, 4));
    }
    this.#mark();
    this.#code.push(box.FILLER);
    for (const call of this.#calls) {
      const distance = this.#code.length - (call + 4);
      this.#code.splice(call, 4, ...bytesOf(BigInt(distance), 4));
      this.#depth = 2;
      this.#undefined = ALL;
      this.#block(random.between(1, 5));
      this.#mark();
      this.#code.push(0xc3);
    }
    const gpr = Array.from({ length: 16 }, (_, i) =>
      this.#mode === 64 ? random.value() : i < 8 ? random.value() & 0xffff_ffffn : 0n,
    );
    const kept = KEPT[this.#mode];
    gpr[kept.counter] = 3n;
    gpr[kept.index] = INDEX;
    [gpr[RBX], gpr[RBP], gpr[RSP]] = [DATA_POINTER, OTHER_POINTER, STACK];
    const bytes = Uint8Array.from(this.#code);
    const flat = box.segmentOf(box.USER_DS);
    const none = box.segmentOf(0);
    const cs = box.segmentOf(this.#mode === 64 ? box.USER_CS : box.USER32_CS);
    return {
      index: this.#index,
      bytes,
      at: this.#at,
      start: {
        mode: this.#mode,
        gpr,
        rip: BigInt(this.#at),
        rflags: BigInt(0x202 | (random.next() & ALL)),
        segments: { cs, ss: flat, ds: flat, es: flat, fs: none, gs: none },
        memory: [{ at: this.#at, bytes }],
      },
      undefinedAt: this.#undefinedAt,
    };
  }

  #block(length: number): void {
    for (let i = 0; i < length; i++) {
      this.#mark();
      this.#any();
    }
  }

  /** An instruction begins here. */
  #mark(): void {
    const at = this.#at + this.#code.length;
    this.#undefinedAt.set(at, (this.#undefinedAt.get(at) ?? 0) | this.#undefined);
  }

  #any(): void {
    const kind = this.#random.below(100);
    if (kind < 34) this.#arithmetic();
    else if (kind < 42) this.#unary();
    else if (kind < 50) this.#shift();
    else if (kind < 56) this.#multiply();
    else if (kind < 60) this.#bits();
    else if (kind < 70) this.#move();
    else if (kind < 76) this.#conditional();
    else if (kind < 80) this.#exchange();
    else if (kind < 84) this.#flags();
    else if (kind < 88) this.#stack();
    else if (kind < 95) this.#branch();
    else if (kind < 97) this.#loop();
    else if (kind < 98) this.#call();
    else this.#string();
  }

  #free(): number {
    return this.#random.pick(FREE[this.#mode]);
  }

  /** 8 to 64 bits; the last only in 64-bit code. */
  #width(smallest = 8): number {
    const widths = [8, 16, 32, 32, 32, ...(this.#mode === 64 ? [64, 64, 64] : [])].filter((w) => w >= smallest);
    return this.#random.pick(widths);
  }

  /** Data, or the stack above what the program itself has pushed. */
  #memory(): Operand {
    const random = this.#random;
    const displacement = random.chance(70) ? random.between(-0x60, 0x78) : random.between(-0x200, 0x200);
    const base = random.pick([RBX, RBX, RBP, RSP]);
    if (base === RSP || this.#looping || !random.chance(25))
      return { base, displacement: base === RSP ? (displacement & 0x78) | 0x10 : displacement };
    return { base, index: KEPT[this.#mode].index, scale: random.below(4), displacement };
  }

  #operand(): Operand {
    return this.#random.chance(60) ? { register: this.#free() } : this.#memory();
  }

  /** Emits an instruction with ModRM. `widthBit`: the opcode's low bit tells bytes from the rest. */
  #emit(opcode: number[], width: number, field: number, rm: Operand, immediate: number[] = [], widthBit = true): void {
    const code: number[] = [];
    if (width === 16) code.push(0x66);
    let rex = width === 64 ? 8 : 0;
    if (field > 7) rex |= 4;
    const byte = width === 8;
    const modrm: number[] = [];
    const low = (field & 7) << 3;
    let needRex = false;
    if ('register' in rm) {
      if (rm.register > 7) rex |= 1;
      needRex = rm.register > 3 && rm.register < 8;
      modrm.push(0xc0 | low | (rm.register & 7));
    } else {
      const wide = rm.displacement < -128 || rm.displacement > 127;
      const mod = wide ? 0x80 : 0x40;
      if (rm.index !== undefined && rm.index > 7) rex |= 2;
      if (rm.index === undefined && rm.base !== RSP) modrm.push(mod | low | rm.base);
      else modrm.push(mod | low | 4, ((rm.scale ?? 0) << 6) | (((rm.index ?? 4) & 7) << 3) | rm.base);
      modrm.push(...bytesOf(BigInt(rm.displacement), wide ? 4 : 1));
    }
    if (byte && field > 3 && field < 8) needRex = true;
    if (this.#mode === 64 && (rex || (byte && needRex))) code.push(0x40 | rex);
    const last = opcode.length - 1;
    code.push(...opcode.slice(0, last), opcode[last] | (widthBit && !byte ? 1 : 0), ...modrm, ...immediate);
    this.#code.push(...code);
  }

  /** In 32-bit code only the first four registers have a low byte; the others' numbers mean AH to BH, which is fine. */
  #source(width: number): number {
    return this.#mode === 32 && width === 8 ? this.#random.pick([0, 1, 2, 4, 5, 6]) : this.#free();
  }

  /** A destination that the program may change: not the low bytes of kept registers either. */
  #target(width: number): Operand {
    const operand = this.#operand();
    if (this.#mode === 32 && width === 8 && 'register' in operand)
      return { register: this.#random.pick([0, 1, 2, 4, 5, 6]) };
    return operand;
  }

  /** The flags an instruction surely defines, and those it may leave undefined. */
  #wrote(defined: number, leaves: number): void {
    this.#undefined = (this.#undefined & ~defined) | leaves;
  }

  #reads(flags: number): boolean {
    return (this.#undefined & flags) === 0;
  }

  #arithmetic(): void {
    const random = this.#random;
    const width = this.#width();
    let operation = random.below(8);
    if ((operation === 2 || operation === 3) && !this.#reads(C)) operation = 0;
    const shape = random.below(6);
    const bytes = Math.min(width / 8, 4);
    if (shape < 2) this.#emit([operation * 8], width, this.#source(width), this.#target(width));
    else if (shape < 4) this.#emit([operation * 8 + 2], width, this.#source(width), this.#target(width));
    else if (shape === 4 && width > 8)
      this.#emit([0x83], width, operation, this.#target(width), [...bytesOf(random.value(), 1)], false);
    else this.#emit([0x80], width, operation, this.#target(width), [...bytesOf(random.value(), bytes)]);
    const logic = operation === 1 || operation === 4 || operation === 6;
    this.#wrote(ALL, logic ? A : 0);
  }

  #unary(): void {
    const random = this.#random;
    const width = this.#width();
    const kind = random.below(5);
    if (kind < 2) {
      this.#emit([0xfe], width, kind, this.#target(width));
      this.#wrote(ALL & ~C, 0);
    } else if (kind === 2) this.#emit([0xf6], width, 2, this.#target(width));
    else if (kind === 3) {
      this.#emit([0xf6], width, 3, this.#target(width));
      this.#wrote(ALL, 0);
    } else {
      this.#emit([0x84], width, this.#source(width), this.#target(width));
      this.#wrote(ALL, A);
    }
  }

  #shift(): void {
    const random = this.#random;
    const width = this.#width();
    let operation = random.below(8);
    if ((operation === 2 || operation === 3) && !this.#reads(C)) operation = 4;
    const rotates = operation < 4;
    const kind = random.below(3);
    const count = kind === 0 ? 1 : random.below(width === 64 ? 64 : 32);
    if (kind === 0) this.#emit([0xd0], width, operation, this.#target(width));
    else if (kind === 1) this.#emit([0xc0], width, operation, this.#target(width), [count]);
    else this.#emit([0xd2], width, operation, this.#target(width));
    if (kind === 2) this.#wrote(0, rotates ? O : O | A | C);
    else if (count === 1) this.#wrote(rotates ? C | O : ALL, rotates ? 0 : A);
    else if (count > 1) this.#wrote(rotates ? C : ALL, rotates ? O : O | A | (count >= width ? C : 0));
  }

  #multiply(): void {
    const random = this.#random;
    const width = this.#width(16);
    const kind = random.below(4);
    if (kind === 0) this.#emit([0x0f, 0xaf], width, this.#free(), this.#operand(), [], false);
    else if (kind === 1) this.#emit([0x6b], width, this.#free(), this.#operand(), [random.below(256)], false);
    else if (kind === 2) this.#emit([0xf6], width, 4 + random.below(2), this.#operand());
    else {
      // xor edx, edx; or ecx, 1; div ecx
      this.#emit([0x31], 32, RDX, { register: RDX }, [], false);
      this.#wrote(ALL, A);
      this.#mark();
      this.#emit([0x83], 32, 1, { register: RCX }, [1], false);
      this.#mark();
      this.#emit([0xf7], 32, 6, { register: RCX }, [], false);
      this.#wrote(0, ALL);
      return;
    }
    this.#wrote(C | O, S | Z | A | P);
  }

  #bits(): void {
    const random = this.#random;
    const width = this.#width(16);
    const kind = random.below(4);
    if (kind === 0) {
      this.#emit([0x0f, 0xba], width, 4 + random.below(4), this.#operand(), [random.below(256)], false);
      this.#wrote(C, O | S | A | P);
    } else if (kind === 1) {
      this.#emit([0x0f, 0xa3 + 8 * random.below(4)], width, this.#free(), { register: this.#free() }, [], false);
      this.#wrote(C, O | S | A | P);
    } else if (kind === 2) {
      this.#emit(
        [0x0f, random.pick([0xa4, 0xac])],
        Math.max(32, width),
        this.#free(),
        this.#operand(),
        [1 + random.below(30)],
        false,
      );
      this.#wrote(ALL, O | A);
    } else if (this.#mode === 64) this.#swap();
  }

  #swap(): void {
    const register = this.#free();
    this.#code.push(0x48 | (register > 7 ? 1 : 0), 0x0f, 0xc8 | (register & 7));
  }

  #move(): void {
    const random = this.#random;
    const kind = random.below(6);
    const width = this.#width();
    if (kind === 0) this.#emit([0x88], width, this.#source(width), this.#target(width));
    else if (kind === 1) this.#emit([0x8a], width, this.#source(width), this.#target(width));
    else if (kind === 2)
      this.#emit(
        [0x0f, random.pick([0xb6, 0xbe])],
        Math.max(16, width),
        this.#free(),
        this.#random.chance(50) ? this.#memory() : { register: RAX },
        [],
        false,
      );
    else if (kind === 3)
      this.#emit([0x0f, random.pick([0xb7, 0xbf])], Math.max(32, width), this.#free(), this.#operand(), [], false);
    else if (kind === 4) this.#emit([0x8d], Math.max(16, width), this.#free(), this.#memory(), [], false);
    else this.#emit([0xc6], width, 0, this.#target(width), [...bytesOf(random.value(), Math.min(width / 8, 4))]);
  }

  #conditional(): void {
    const code = this.#random.below(16);
    if (!this.#reads(READ_BY[code >> 1])) {
      this.#compare();
      return;
    }
    if (this.#random.chance(50)) this.#emit([0x0f, 0x90 + code], 8, 0, this.#target(8), [], false);
    else this.#emit([0x0f, 0x40 + code], this.#width(16), this.#free(), this.#operand(), [], false);
  }

  /** Defines every flag. */
  #compare(): void {
    const width = this.#width();
    this.#emit([0x38], width, this.#source(width), this.#target(width));
    this.#wrote(ALL, 0);
  }

  #exchange(): void {
    const width = this.#width();
    const kind = this.#random.below(3);
    const [source, target] = [this.#source(width), this.#target(width)];
    if (kind === 0) this.#emit([0x86], width, source, target);
    else {
      this.#emit([0x0f, kind === 1 ? 0xc0 : 0xb0], width, source, target);
      this.#wrote(ALL, 0);
    }
  }

  #flags(): void {
    const random = this.#random;
    const kind = random.below(6);
    if (kind < 2) {
      this.#code.push(0xf8 + kind);
      this.#wrote(C, 0);
    } else if (kind === 2 && this.#reads(C)) this.#code.push(0xf5);
    else if (kind === 3) {
      this.#code.push(0x9e);
      this.#wrote(ALL & ~O, 0);
    } else if (kind === 4 && this.#reads(ALL & ~O)) this.#code.push(0x9f);
    else if (this.#reads(ALL)) this.#code.push(0x9c, 0x58 + random.pick([RAX, RCX, RDX]));
    else this.#compare();
  }

  /** push, something between, pop. */
  #stack(): void {
    const [from, to] = [this.#random.pick([RAX, RCX, RDX, RSI]), this.#random.pick([RAX, RCX, RDX, RSI])];
    this.#code.push(0x50 + from);
    this.#mark();
    this.#arithmetic();
    this.#mark();
    this.#code.push(0x58 + to);
  }

  /** A conditional branch over a few instructions, often right behind a comparison. */
  #branch(): void {
    const random = this.#random;
    if (this.#depth > 2) {
      this.#compare();
      return;
    }
    const code = random.below(16);
    if (!this.#reads(READ_BY[code >> 1]) || random.chance(50)) {
      this.#compare();
      this.#mark();
    }
    const at = this.#code.length;
    const near = random.chance(25);
    this.#code.push(...(near ? [0x0f, 0x80 + code, 0, 0, 0, 0] : [0x70 + code, 0]));
    const before = this.#undefined;
    this.#depth++;
    this.#block(random.between(1, 4));
    this.#depth--;
    const end = this.#code.length;
    const size = near ? 6 : 2;
    const distance = end - (at + size);
    // Too far for a byte: jump to the next instruction instead.
    if (near) this.#code.splice(at + 2, 4, ...bytesOf(BigInt(distance), 4));
    else this.#code[at + 1] = distance < 128 ? distance : 0;
    this.#undefined |= before;
  }

  /** A loop of a few rounds: dec and jnz, or LOOP. What its body finds in the flags may come from its end. */
  #loop(): void {
    if (this.#depth > 0) {
      this.#compare();
      return;
    }
    this.#depth = 2;
    this.#looping = true;
    const { counter } = KEPT[this.#mode];
    // mov counter, rounds
    this.#emit([0xc7], 32, 0, { register: counter }, [...bytesOf(BigInt(this.#random.between(2, 5)), 4)], false);
    const top = this.#code.length;
    this.#undefined = ALL;
    this.#block(this.#random.between(1, 5));
    this.#mark();
    this.#emit([0xff], 32, 1, { register: counter }, [], false);
    this.#wrote(ALL & ~C, 0);
    this.#mark();
    const distance = this.#code.length + 6 - top;
    this.#code.push(0x0f, 0x85, ...bytesOf(BigInt(-distance), 4));
    this.#looping = false;
    this.#depth = 0;
    if (this.#mode === 32) {
      this.#mark();
      this.#emit([0xc7], 32, 0, { register: RDI }, [...bytesOf(INDEX, 4)], false);
    }
  }

  #call(): void {
    if (this.#depth > 0) {
      this.#compare();
      return;
    }
    this.#code.push(0xe8);
    this.#calls.push(this.#code.length);
    this.#code.push(0, 0, 0, 0);
    this.#undefined = ALL;
  }

  /** rep movs or rep stos over a few elements, both ways. */
  #string(): void {
    const random = this.#random;
    if (this.#mode === 32) {
      this.#compare();
      return;
    }
    const [down, wide] = [random.chance(40), random.chance(50)];
    this.#code.push(down ? 0xfd : 0xfc);
    for (const [register, displacement] of [
      [RSI, random.between(0x40, 0x100)],
      [RDI, random.between(0x40, 0x100)],
    ]) {
      this.#mark();
      this.#emit([0x8d], 64, register, { base: RBX, displacement }, [], false);
    }
    this.#mark();
    this.#emit([0xc7], 32, 0, { register: RCX }, [...bytesOf(BigInt(random.below(9)), 4)], false);
    this.#mark();
    this.#code.push(0xf3, ...(wide ? [0x48] : []), random.pick([0xa4, 0xaa]) | (wide ? 1 : 0));
  }

  /** Something that faults, so that state must be exact in the midst of a block. */
  #fault(): void {
    const random = this.#random;
    this.#mark();
    switch (random.below(4)) {
      case 0: // ud2
        this.#code.push(0x0f, 0x0b);
        break;
      case 1: // xor ecx, ecx; div ecx
        this.#emit([0x31], 32, RCX, { register: RCX }, [], false);
        this.#wrote(ALL, A);
        this.#mark();
        this.#emit([0xf7], 32, 6, { register: RCX }, [], false);
        break;
      case 2: // an arithmetic instruction on the read-only page
        this.#emit(
          [0x01],
          32,
          this.#free(),
          { base: RBX, displacement: box.READ_ONLY - Number(DATA_POINTER) + random.below(64) },
          [],
          false,
        );
        break;
      default: // a load from the hole
        this.#emit(
          [0x8b],
          32,
          this.#free(),
          { base: RBX, displacement: box.HOLE - Number(DATA_POINTER) + random.below(64) },
          [],
          false,
        );
    }
    this.#undefined = ALL;
  }
}
