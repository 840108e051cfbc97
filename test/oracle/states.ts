/** States: makes the cases of a form, the same ones every time from the form's name.
 *
 * A case is an instruction (prefixes, registers, addressing and immediates chosen at random) and the state in which it
 * runs. An address is made backwards: first where the operand shall lie (mostly in the writable pages, often across
 * their ends, now and then on the read-only page, in a hole or nowhere), then the registers that lead there.
 * In 32-bit code the segments are chosen too, and the offset may sit on a limit. One class, since each choice leans on
 * the ones before it: segments, registers, prefixes, operand, place. May not: know what an instruction does.
 * Next: test/oracle/setups.ts, what single families need beyond that. */
import type { Segment } from '../../src/x86/vcpu-state.ts';
import type { CpuStart } from '../engine/cpu-driver.ts';
import { bytesOf } from './bytes.ts';
import { type Form, STATES } from './forms.ts';
import { Random } from './random.ts';
import * as box from './sandbox.ts';
import { SETUPS, type Setup } from './setups.ts';
import { undefinedFlags } from './undefined.ts';
import type { Recorded } from './vectors.ts';

export type Case = Recorded & {
  form: Form;
  index: number;
  /** The linear address of the instruction's first byte. */
  at: number;
  /** Flags without a defined value if it completes. */
  undefinedFlags: number;
};

/** A form's states, as the block under which they are recorded. */
export const blockOf = (form: Form): { id: string; form: Form; cases: Case[] } => ({
  id: form.id,
  form,
  cases: casesOf(form),
});

export const casesOf = (form: Form): Case[] => Array.from({ length: STATES }, (_, i) => new Builder(form, i).build());

/** Where an operand is: a register (and which byte of it), or memory. */
export type Place = { register: number; high?: boolean } | { at: number };

const OVERRIDES = { es: 0x26, cs: 0x2e, ss: 0x36, ds: 0x3e, fs: 0x64, gs: 0x65 } as const;
type Name = keyof typeof OVERRIDES;
const NAMES = Object.keys(OVERRIDES) as Name[];

const RSP = 4;
/** The segments that a data segment register can hold, as indices of the LDT. */
const LOADABLE = [1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14, 15, 16, 18, 19, 20];
const NEAR_DATA = [2, 3, 5, 12, 13, 18, 19];

export class Builder {
  readonly form: Form;
  readonly index: number;
  readonly random: Random;
  readonly mode: 64 | 32;
  /** Of the code segment: decides the default sizes. */
  readonly codeSize: number;
  readonly width: number;
  addressSize = 0;
  readonly gpr = new BigUint64Array(16);
  readonly pinned = new Set<number>();
  readonly segments: Record<Name, Segment>;
  rflags = 0x202;
  readonly memory: { at: number; bytes: Uint8Array }[] = [];
  readonly setup: Setup;
  /** What the setups may choose: an immediate, the far selector, a count (for undefined flags), the place. */
  immediate: bigint | undefined;
  selector = 0;
  count = 0;
  e: Place = { register: 0 };
  g: Place = { register: 0 };
  #override: Name | undefined;
  #rex = 0;
  #needRex = false;
  #noRex = false;
  #modrm: number[] = [];
  #ripRelative: number | undefined;

  constructor(form: Form, index: number) {
    this.form = form;
    this.index = index;
    this.mode = form.mode;
    this.width = form.width;
    this.random = new Random(`${form.id} #${index}`);
    this.setup = form.row.setup ? SETUPS[form.row.setup] : {};
    this.segments = this.mode === 64 ? this.#segments64() : this.#segments32();
    this.codeSize = this.mode === 64 ? 64 : this.segments.cs.attributes & 0x4000 ? 32 : 16;
    const other = this.random.chance(this.mode === 64 ? 8 : 12);
    const sizes = { 64: [64, 32], 32: [32, 16], 16: [16, 32] }[this.codeSize] ?? [];
    this.addressSize = sizes[other ? 1 : 0];
    if (this.addressSize === 16 && this.random.chance(90)) {
      this.segments.ds = box.segmentOf(box.ldt(this.random.pick(NEAR_DATA)));
      this.segments.es = box.segmentOf(box.ldt(this.random.pick(NEAR_DATA)));
      this.segments.ss = box.segmentOf(box.ldt(this.random.pick([12, 5, 2])));
    }
    for (let i = 0; i < 16; i++) this.set(i, this.random.chance(70) ? this.random.value() : this.random.wide());
    this.rflags |= this.random.next() & 0xcd5;
    if (this.random.chance(4)) this.rflags |= 0x4_0000;
    if (this.mode === 32) for (let i = 8; i < 16; i++) this.gpr[i] = 0n;
  }

  /** Sets a whole register. */
  set(register: number, value: bigint): void {
    this.gpr[register] = this.mode === 64 ? value : BigInt.asUintN(32, value);
  }

  pin(register: number, value: bigint): void {
    this.set(register, value);
    this.pinned.add(register);
  }

  /** Sets the low `bits` of a register and keeps the rest. */
  setLow(register: number, bits: number, value: bigint): void {
    const keep = this.gpr[register] & ~((1n << BigInt(bits)) - 1n);
    this.set(register, keep | BigInt.asUintN(bits, value));
  }

  /** Writes an operand of `bits`, wherever it is. */
  put(place: Place, bits: number, value: bigint): void {
    if ('at' in place) this.patch(place.at, bytesOf(value, bits / 8));
    else if (bits === 8 && place.high) {
      this.set(place.register, (this.gpr[place.register] & ~0xff00n) | (BigInt.asUintN(8, value) << 8n));
    } else this.setLow(place.register, bits, value);
  }

  patch(at: number, bytes: Uint8Array): void {
    const here = box.mappedLength(at, bytes.length);
    if (here > 0) this.memory.push({ at, bytes: bytes.subarray(0, here) });
  }

  /** A linear address for an access of `size` bytes. */
  target(size: number): bigint {
    const { random } = this;
    const within = random.below(Math.max(1, size - 1)) + 1;
    const at = (address: number): bigint => BigInt(address);
    const kind = random.below(100);
    if (kind < 32 || (kind < 62 && size === 16)) return at(box.DATA + 16 * random.below(0x1f0));
    if (kind < 62) return at(box.DATA + random.below(0x1fc0));
    if (kind < 70) return at(box.DATA + box.PAGE - within);
    if (kind < 78) return at(box.READ_ONLY + random.below(0xfc0));
    if (kind < 83) return at(box.READ_ONLY - within);
    if (kind < 86) return at(box.HOLE + random.below(0xfc0));
    if (kind < 89) return at(box.HOLE - within);
    if (kind < 92) return at(box.ISLAND - within);
    if (kind < 95) return at(box.ISLAND + random.below(0xfc0));
    if (kind < 97) return at(box.DATA_END - size);
    if (kind < 98) return at(box.DATA_END - within);
    if (this.mode === 32) return BigInt(random.next());
    return random.pick([0x8000_0000_0000n, 0xffff_7fff_ffff_fff0n, 0xffff_9000_0000_0000n, random.wide()]);
  }

  /** The offset in a segment of an access of `size` bytes: leads to a target, or sits on the limit. */
  offset(segment: Segment, size: number, addressSize: number): bigint {
    const mask = (1n << BigInt(addressSize)) - 1n;
    if (this.mode === 32 && segment.limit !== 0xffff_ffff && this.random.chance(20)) {
      const expandDown = (segment.attributes & 0xc) === 4;
      const edge = segment.limit + 1 - (expandDown ? 0 : size);
      return BigInt(edge + this.random.below(5) - 2) & mask;
    }
    const base = this.mode === 64 && !this.#hasBase(segment) ? 0n : segment.base;
    const target = this.target(size);
    const offset = (target - base) & mask;
    const isCanonical = (address: bigint): boolean => BigInt.asUintN(64, BigInt.asIntN(48, address)) === address;
    // With a base, an offset that is not canonical by itself faults on some processors.
    if (base !== 0n && this.mode === 64 && isCanonical(target) && !isCanonical(offset))
      return (BigInt(box.DATA) - base) & mask;
    return offset;
  }

  /** Where an offset leads; -1 when that is no address below 4 GiB. */
  linear(segment: Segment, offset: bigint): number {
    if (this.mode === 32) return Number((segment.base + offset) & 0xffff_ffffn);
    const sum = BigInt.asUintN(64, offset + (this.#hasBase(segment) ? segment.base : 0n));
    return sum < 0x1_0000_0000n ? Number(sum) : -1;
  }

  #hasBase(segment: Segment): boolean {
    return segment === this.segments.fs || segment === this.segments.gs;
  }

  /** In bits: 16 or 32 as SS says, 64 in 64-bit mode. */
  get stackSize(): number {
    return this.mode === 64 ? 64 : this.segments.ss.attributes & 0x4000 ? 32 : 16;
  }

  /** RSP such that the `size` bytes at RSP + `from` are the access. Returns their linear address. */
  stack(size: number, from: number, register = RSP): number {
    const offset = this.offset(this.segments.ss, size, this.stackSize);
    const pointer = BigInt.asUintN(this.stackSize, offset - BigInt(from));
    if (this.stackSize === 16) this.setLow(register, 16, pointer);
    else this.set(register, pointer);
    this.pinned.add(register);
    return this.linear(this.segments.ss, offset);
  }

  /** The segment that DS-relative operands use; settles the override on first use. */
  dataSegment(fallback: Name = 'ds'): Segment {
    if (!this.#override && this.random.chance(this.mode === 64 ? 14 : 25)) {
      this.#override =
        this.mode === 64 && this.random.chance(60) ? this.random.pick(['fs', 'gs']) : this.random.pick(NAMES);
    }
    const name = this.#override ?? fallback;
    if (this.mode === 64 && name !== 'fs' && name !== 'gs') return this.segments.ds;
    return this.segments[name];
  }

  /** An offset of the present address size put into a register as string instructions use it. */
  setPointer(register: number, offset: bigint): void {
    if (this.addressSize === 64 || this.mode === 32) {
      if (this.addressSize === 16) this.setLow(register, 16, offset);
      else this.set(register, offset);
    } else this.setLow(register, this.addressSize, offset);
    this.pinned.add(register);
  }

  /** An address in the code pages, not in the instruction itself. */
  codeTarget(): number {
    return this.random.chance(90) ? box.CODE + this.random.below(0x780) : box.CODE_END + this.random.below(64);
  }

  #segments64(): Record<Name, Segment> {
    const data = (): Segment => box.segmentOf(this.random.pick([0, box.USER_DS, box.ldt(4)]));
    const based = (): Segment => ({
      ...box.segmentOf(0),
      base: this.random.pick([0n, 0x1fff_f000n, 0x2000_0001n, 0x7fff_1234_5000n]),
    });
    const [ds, es, fs, gs] = [data(), data(), based(), based()];
    return { cs: box.segmentOf(box.USER_CS), ss: box.segmentOf(box.USER_DS), ds, es, fs, gs };
  }

  #segments32(): Record<Name, Segment> {
    const { random } = this;
    const pick = (indices: number[]): Segment => box.segmentOf(box.ldt(random.pick(indices)));
    const flat = box.segmentOf(box.USER_DS);
    const extra = (): Segment => (random.chance(8) ? box.segmentOf(0) : pick(LOADABLE));
    const cs = box.segmentOf(box.USER32_CS);
    if (random.chance(50)) return { cs, ss: flat, ds: flat, es: flat, fs: pick(LOADABLE), gs: extra() };
    return {
      cs: random.chance(30) ? cs : pick([16, 7, 8, 9, 9]),
      ss: random.chance(40) ? flat : pick([1, 2, 4, 5, 12, 12, 14, 18]),
      ds: random.chance(25) ? flat : extra(),
      es: random.chance(25) ? flat : extra(),
      fs: extra(),
      gs: extra(),
    };
  }

  build(): Case {
    const { row } = this.form;
    const args = row.args ?? '';
    const codes = args.split(',');
    const coded = row.code.split(' ');
    const opcode = coded.filter((w) => !w.startsWith('/')).map((w) => Number.parseInt(w, 16));
    const extension = coded.find((w) => w.startsWith('/'));

    if (this.width === 64 && this.#defaultSize() !== 64) this.#rex |= 8;
    if (this.mode === 64 && this.random.chance(6)) this.#needRex = true;
    const g = codes.find((c) => /^[GS]/.test(c));
    let field = extension ? Number(extension.slice(1)) : this.random.below(8);
    if (g && !extension) {
      if (g[0] === 'S')
        field = this.random.pick(args.startsWith('S') ? [0, 0, 2, 2, 3, 3, 4, 5, 1, 6] : [0, 1, 2, 3, 4, 5, 6, 7]);
      else {
        const extended = this.mode === 64 && this.random.chance(50) ? 8 : 0;
        if (extended) this.#rex |= 4;
        this.g = this.#byteOr(field, extended, g[1] === 'b');
      }
    }
    if (codes.some((c) => c.startsWith('Z'))) {
      const low = this.random.below(8);
      const extended = this.mode === 64 && this.random.chance(50) ? 8 : 0;
      if (extended) this.#rex |= 1;
      opcode[opcode.length - 1] += low;
      this.e = this.#byteOr(
        low,
        extended,
        codes.some((c) => c === 'Zb'),
      );
    }
    if (codes.some((c) => c.startsWith('I'))) this.immediate = this.random.value();
    this.setup.before?.(this);

    const operand = codes.find((c) => /^[EMR]/.test(c));
    if (operand) this.#modRm(operand, field);
    const moffs = codes.some((c) => c.startsWith('O'));
    let moffsOffset = 0n;
    if (moffs) {
      const segment = this.dataSegment();
      moffsOffset = this.offset(segment, this.width / 8, this.addressSize);
    }
    if (codes.some((c) => c.startsWith('E') || c.startsWith('M')) && this.random.chance(75)) {
      if ('at' in this.e) this.patch(this.e.at, bytesOf(this.random.value(), 8));
    }
    this.setup.after?.(this);

    const tail: number[] = [];
    const append = (value: bigint, bytes: number): void => void tail.push(...bytesOf(value, bytes));
    if (moffs) append(moffsOffset, this.addressSize / 8);
    for (const code of codes) {
      if (/^I/.test(code)) {
        const size = { b: 1, w: 2, z: this.width === 16 ? 2 : 4, v: this.width / 8 }[code[1]] ?? 1;
        append(this.immediate ?? 0n, size);
        // The second immediate of ENTER.
        if (code === 'Iw' && codes.length > 1) this.immediate = BigInt(this.selector);
      }
      if (code === 'Ap') {
        append(this.immediate ?? 0n, this.width === 32 ? 4 : 2);
        append(BigInt(this.selector), 2);
      }
    }
    return this.#place(
      [...this.#prefixes(), ...opcode, ...this.#modrm],
      tail,
      codes.find((c) => c.startsWith('J')),
    );
  }

  /** The operand size without a prefix. */
  #defaultSize(): number {
    if (this.mode === 32) return this.codeSize;
    return this.form.row.widths === 'd' || this.form.row.widths === 'n' || /J/.test(this.form.row.args ?? '') ? 64 : 32;
  }

  /** A register; as a byte it may be AH to BH, which no REX prefix may accompany. */
  #byteOr(low: number, extended: number, byte: boolean): Place {
    if (!byte || extended || low < 4) return { register: low + extended };
    if (this.mode === 64 && (this.#needRex || this.#rex || this.#noRex || this.random.chance(50))) {
      if (!this.#noRex) this.#needRex = true;
      return this.#noRex ? { register: low - 4, high: true } : { register: low };
    }
    this.#noRex = true;
    return { register: low - 4, high: true };
  }

  #modRm(code: string, field: number): void {
    const { random } = this;
    if (this.form.shape === 'r') {
      const low = random.below(8);
      const extended = this.mode === 64 && !this.#noRex && random.chance(50) ? 8 : 0;
      if (extended) this.#rex |= 1;
      this.e = this.#byteOr(low, extended, code[1] === 'b');
      this.#modrm = [0xc0 | (field << 3) | low];
      return;
    }
    const bytes = this.setup.bytes ?? { b: 1, w: 2, d: 4 }[code[1]] ?? Math.max(2, this.width / 8);
    if (this.addressSize === 16) this.#address16(field, bytes);
    else this.#address(field, bytes);
  }

  /** 32- and 64-bit addressing: any ModRM and SIB; one register is then set so that the sum is the address. */
  #address(field: number, bytes: number): void {
    const { random } = this;
    const signed = (bits: number): bigint =>
      BigInt.asIntN(bits, random.chance(60) ? random.wide() : BigInt(random.below(256)) - 128n);
    const mask = (1n << BigInt(this.addressSize)) - 1n;
    for (;;) {
      const mod = random.below(3);
      const rm = random.below(8);
      const extend = this.mode === 64 && !this.#noRex;
      const b = extend && random.chance(50) ? 8 : 0;
      const x = extend && random.chance(50) ? 8 : 0;
      const sib = rm === 4;
      const scale = random.below(4);
      const index = sib ? random.below(8) + x : 4;
      const baseLow = sib ? random.below(8) : rm;
      const noBase = mod === 0 && baseLow === 5;
      const base = noBase ? -1 : baseLow + b;
      const hasIndex = index !== 4;
      const displaced = mod === 1 ? 8 : mod === 2 || noBase ? 32 : 0;
      const ripRelative = this.mode === 64 && noBase && !sib;
      const segment = this.dataSegment(base === 4 || base === 5 ? 'ss' : 'ds');
      const offset = this.offset(segment, bytes, this.addressSize);
      let displacement = displaced ? signed(displaced) : 0n;
      const rest = (): bigint => offset - displacement;
      const low = (value: bigint): void => {
        const register = base >= 0 ? base : index;
        if (this.addressSize === 64 || this.mode === 32) this.set(register, value & mask);
        else this.setLow(register, 32, value);
      };
      if (ripRelative) {
        // The displacement counts from the end of the instruction, so it is put in when that is known.
        if (offset >= 0x4000_0000n) continue;
        this.#ripRelative = Number(offset);
      } else if (base >= 0 && !this.pinned.has(base) && !(hasIndex && index === base)) {
        const scaled = hasIndex ? this.gpr[index] << BigInt(scale) : 0n;
        low(rest() - scaled);
      } else if (base < 0 || (hasIndex && index !== base && !this.pinned.has(index) && scale === 0)) {
        if (base >= 0) {
          const value = (rest() - this.gpr[base]) & mask;
          if (this.addressSize === 64 || this.mode === 32) this.set(index, value);
          else this.setLow(index, 32, value);
        } else {
          if (hasIndex && !this.pinned.has(index)) this.set(index, BigInt(random.below(512)));
          displacement = BigInt.asIntN(this.addressSize, offset - (hasIndex ? this.gpr[index] << BigInt(scale) : 0n));
          if (displacement !== BigInt.asIntN(32, displacement)) continue;
        }
      } else continue;
      this.#modrm = [(mod << 6) | (field << 3) | rm];
      if (sib) this.#modrm.push((scale << 6) | ((index & 7) << 3) | baseLow);
      if (b) this.#rex |= 1;
      if (sib && x) this.#rex |= 2;
      this.#modrm.push(...bytesOf(displacement, displaced / 8));
      this.e = { at: this.linear(segment, offset) };
      return;
    }
  }

  #address16(field: number, bytes: number): void {
    const { random } = this;
    const pairs = [[3, 6], [3, 7], [5, 6], [5, 7], [6], [7], [5], [3]];
    for (;;) {
      const mod = random.below(3);
      const rm = random.below(8);
      const direct = mod === 0 && rm === 6;
      const registers = direct ? [] : pairs[rm];
      const segment = this.dataSegment(!direct && registers[0] === 5 ? 'ss' : 'ds');
      const offset = this.offset(segment, bytes, 16);
      const displaced = mod === 1 ? 8 : mod === 2 || direct ? 16 : 0;
      const displacement = direct ? offset : displaced ? BigInt.asIntN(displaced, random.wide()) : 0n;
      const free = registers.find((r) => !this.pinned.has(r));
      if (!direct) {
        if (free === undefined) continue;
        const others = registers.filter((r) => r !== free).reduce((sum, r) => sum + this.gpr[r], 0n);
        this.setLow(free, 16, offset - displacement - others);
      }
      this.#modrm = [(mod << 6) | (field << 3) | rm, ...bytesOf(displacement, displaced / 8)];
      this.e = { at: this.linear(segment, offset) };
      return;
    }
  }

  /** LOCK in front of VERW is ignored by some processors. */
  #isLockTried(): boolean {
    return /[EM]/.test(this.form.row.args ?? '') && this.form.row.name !== 'verw';
  }

  /** Everything in front of the opcode, at times more than is needed. */
  #prefixes(): number[] {
    const { random } = this;
    const list: number[] = [];
    const narrow = this.width === 16 || this.width === 32 || this.width === 64;
    const size = this.#defaultSize();
    if (narrow && this.width !== 64 && this.width !== size) list.push(0x66);
    else if ((this.#rex & 8) !== 0 && random.chance(5)) list.push(0x66); // REX.W wins
    if (this.addressSize !== this.codeSize) list.push(0x67);
    if (this.#override) list.push(OVERRIDES[this.#override]);
    if (this.#isLockTried() && this.random.chance(this.form.shape === 'm' ? 6 : 2)) list.push(0xf0);
    if (list.length > 1 && random.chance(50)) list.reverse();
    if (this.form.row.prefix) list.splice(random.below(list.length + 1), 0, this.form.row.prefix);
    // A REX prefix with another prefix behind it counts for nothing.
    if (this.mode === 64 && list.length > 0 && random.chance(4)) list.unshift(0x40 + random.below(16));
    if (this.#rex || this.#needRex) list.push(0x40 | this.#rex);
    return list;
  }

  /** Chooses where the instruction lies, and fills in what counts from its end. */
  #place(head: number[], tail: number[], jump: string | undefined): Case {
    const { random } = this;
    const jumpBytes = jump ? (jump === 'Jb' ? 1 : this.width === 16 ? 2 : 4) : 0;
    const body = head.length + tail.length + jumpBytes;
    // What is undefined has no length of which all processors know.
    const where = jump ? 0 : random.below(this.form.row.name === 'undefined' ? 94 : 100);
    // Some instructions are made as long as is allowed, or one byte longer, by a prefix that says nothing new.
    if (where >= 98 && body < 15) {
      const repeated = this.#override ? OVERRIDES[this.#override] : this.mode === 64 ? 0x2e : 0;
      const count = (random.chance(50) ? 15 : 16) - body;
      if (repeated) head.unshift(...new Array<number>(count).fill(repeated));
    }
    const length = head.length + tail.length + jumpBytes;
    let at = box.CODE + 0x800 + random.below(16);
    if (where >= 86 && where < 94) at = box.CODE + box.PAGE - random.between(1, Math.max(1, length - 1));
    if (where >= 94 && where < 96) at = box.CODE_END - length;
    if (where >= 96 && where < 98) at = box.CODE_END - random.between(1, Math.max(1, length - 1));

    if (jump) {
      let distance: number;
      do {
        if (jumpBytes === 1) distance = random.between(-128, 127);
        else if (jumpBytes === 2 || random.chance(70)) distance = this.codeTarget() - at;
        else distance = random.next() | 0;
      } while (distance >= -length && distance < 0);
      tail.push(...bytesOf(BigInt(distance), jumpBytes));
    }
    if (this.#ripRelative !== undefined) {
      const end = at + length;
      head.splice(head.length - 4, 4, ...bytesOf(BigInt(this.#ripRelative - end), 4));
    }
    const bytes = Uint8Array.from([...head, ...tail]);
    this.patch(at, bytes);
    const start: CpuStart = {
      mode: this.mode,
      gpr: Array.from(this.gpr),
      rip: BigInt(at) - this.segments.cs.base,
      rflags: BigInt(this.rflags),
      segments: this.segments,
      memory: this.memory,
    };
    const undefinedMask = undefinedFlags(this.form.row.name, this.count, this.width);
    return { form: this.form, index: this.index, bytes, at, start, undefinedFlags: undefinedMask };
  }
}
