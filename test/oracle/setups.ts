/** Setups: what some instruction families need of a state so that more happens than a fault.
 *
 * `before` runs when registers are random and the operand in ModRM is not chosen yet: a register that must keep its value
 * is pinned there. `after` runs when the operand's place is known. May not: decide what an instruction does; the host
 * does that.   Next: test/oracle/native.ts, which asks the host. */
import { bytesOf } from './bytes.ts';
import * as box from './sandbox.ts';
import type { Builder } from './states.ts';

export type Setup = {
  /** Bytes of the memory operand where the operand code does not say. */
  bytes?: number;
  before?: (b: Builder) => void;
  after?: (b: Builder) => void;
};

const [RAX, RCX, RDX, RBX, RBP, RSI, RDI] = [0, 1, 2, 3, 5, 6, 7];

const mask = (bits: number): bigint => (1n << BigInt(bits)) - 1n;

function shiftCount(b: Builder, raw: number): number {
  const masked = raw & (b.width === 64 ? 63 : 31);
  if (!b.form.row.name.endsWith('d') || masked <= b.width) return raw;
  return masked - b.width; // A 16-bit double shift by more than 16 is undefined.
}

function setCount(b: Builder, raw: number): void {
  b.count = raw & (b.width === 64 ? 63 : 31);
}

/** Bytes of one element of a stack operation. */
const slot = (b: Builder): number => b.width / 8;

/** Any selector: good, bad, null, absent, past the table. */
function anySelector(b: Builder): number {
  const { random } = b;
  if (random.chance(60)) return box.ldt(random.below(box.LDT.length));
  if (random.chance(20)) return box.ldt(random.below(box.LDT.length)) & ~random.between(1, 3);
  return random.pick([0, 1, 2, 3, 0x08, 0x10, 0x13, 0x1b, box.USER32_CS, box.USER_DS, 0x2a, box.USER_CS, 0x30, 0x38,
    0x40, 0x50, 0x83, 0x1234, 0xffff, box.ldt(40), box.ldt(box.LDT.length)]); // biome-ignore format: a list
}

/** A code segment to go to, more often good than not, and an offset in it. */
function farTarget(b: Builder): { selector: number; offset: bigint } {
  const { random } = b;
  const good = [box.USER32_CS, box.USER_CS, box.ldt(7), box.ldt(9), box.ldt(16), box.ldt(8)];
  const wanted = random.chance(65) ? random.pick(good) : anySelector(b);
  // On the way into 64-bit code, the upper half of RSP is what Linux's espfix left there on a 16-bit stack, and whether a
  // stack's base still counts is the processor's affair.
  const isPlain = b.stackSize > 16 && b.segments.ss.base === 0n;
  const selector = !isPlain && (wanted & ~3) === (box.USER_CS & ~3) ? box.USER32_CS : wanted;
  const known = (selector & 4 ? selector >> 3 < box.LDT.length : selector >> 3 < 7) && (selector & ~3) !== 0;
  const base = known ? box.segmentOf(selector).base : 0n;
  return { selector, offset: random.chance(90) ? BigInt(b.codeTarget()) - base : random.value() };
}

function nearTarget(b: Builder): bigint {
  const { random } = b;
  if (random.chance(85)) return BigInt(b.codeTarget()) - b.segments.cs.base;
  return random.chance(40)
    ? random.pick([0x8000_0000_0000n, 0xffff_9000_0000_0000n, BigInt(box.DATA)])
    : random.value();
}

const push: Setup = { before: (b) => void b.stack(slot(b), -slot(b)) };

/** Puts values of the operand size on the stack at RSP and up. */
function popValues(b: Builder, values: bigint[]): void {
  const size = slot(b);
  const at = b.stack(size * values.length, 0);
  const bytes = new Uint8Array(size * values.length);
  values.forEach((v, i) => {
    bytes.set(bytesOf(v, size), i * size);
  });
  if (at >= 0) b.patch(at, bytes);
}

/** Source, destination and count of a string instruction; returns where both begin in memory (the lowest address). */
function stringPointers(b: Builder): { from: number; to: number; elements: number } {
  const { random } = b;
  const size = slot(b);
  const repeated = b.form.row.prefix !== undefined;
  const elements = repeated
    ? random.chance(12)
      ? 0
      : random.chance(85)
        ? random.between(1, 9)
        : random.between(10, 50)
    : 1;
  if (repeated) b.setPointer(RCX, BigInt(elements));
  const down = (b.rflags & 0x400) !== 0;
  const run = size * Math.max(1, elements);
  const back = down ? run - size : 0;
  const length = random.chance(50) ? run : size;
  const source = b.dataSegment();
  const destination = b.mode === 64 ? b.segments.ds : b.segments.es;
  const sourceOffset = b.offset(source, length, b.addressSize);
  let destinationOffset = b.offset(b.mode === 64 ? plain(b) : destination, length, b.addressSize);
  // Overlap, by less or more than an element.
  if (random.chance(25))
    destinationOffset = BigInt.asUintN(b.addressSize, sourceOffset + BigInt(random.between(-9, 9)));
  const at = (offset: bigint): bigint => BigInt.asUintN(b.addressSize, offset + BigInt(back));
  b.setPointer(RSI, at(sourceOffset));
  b.setPointer(RDI, at(destinationOffset));
  return {
    from: b.linear(source, sourceOffset),
    to: b.linear(destination, destinationOffset),
    elements: Math.max(1, elements),
  };
}

/** In 64-bit mode ES has no base. */
const plain = (b: Builder) => b.segments.es;

function element(b: Builder): Uint8Array {
  return bytesOf(b.gpr[RAX], slot(b));
}

function fill(b: Builder, at: number, elements: number, value: (i: number) => Uint8Array): void {
  if (at < 0) return;
  const size = slot(b);
  const bytes = new Uint8Array(size * elements);
  for (let i = 0; i < elements; i++) bytes.set(value(i), i * size);
  b.patch(at, bytes);
}

function dividend(b: Builder, signed: boolean): void {
  const { random, width } = b;
  const w = BigInt(width);
  const pick = (): bigint => (signed ? BigInt.asIntN(width, random.value()) : BigInt.asUintN(width, random.value()));
  let value = BigInt.asUintN(2 * width, (random.value() << w) | random.value());
  const divisor = pick();
  if (random.chance(70) && divisor !== 0n) {
    const magnitude = divisor < 0n ? -divisor : divisor;
    const quotient = random.chance(15)
      ? (signed ? -(1n << (w - 1n)) : mask(width)) + BigInt(random.below(3) - 1)
      : pick();
    const product = quotient * divisor;
    value = product + (random.wide() % magnitude) * (signed && product < 0n ? -1n : 1n);
  }
  if (width === 8) b.setLow(RAX, 16, value);
  else {
    b.setLow(RAX, width, value);
    b.setLow(RDX, width, value >> w);
  }
  b.pinned.add(RAX).add(RDX);
  b.immediate = divisor; // kept until the operand's place is known
}

function divisor(b: Builder): void {
  if ('register' in b.e && (b.e.register === RAX || b.e.register === RDX)) return;
  b.put(b.e, b.width, b.immediate ?? 0n);
}

const FAR: Setup = {
  after: (b) => {
    const { selector, offset } = farTarget(b);
    if ('at' in b.e && b.e.at >= 0)
      b.patch(b.e.at, Uint8Array.from([...bytesOf(offset, slot(b)), ...bytesOf(BigInt(selector), 2)]));
  },
};

export const SETUPS = {
  shiftImmediate: {
    before: (b) => {
      const raw = shiftCount(b, b.random.chance(70) ? b.random.below(72) : b.random.below(256));
      setCount(b, raw);
      b.immediate = BigInt(raw);
    },
  },
  shiftOne: { before: (b) => setCount(b, 1) },
  shiftCl: {
    before: (b) => {
      const raw = shiftCount(b, b.random.chance(70) ? b.random.below(72) : b.random.below(256));
      b.setLow(RCX, 8, BigInt(raw));
      b.pinned.add(RCX);
      setCount(b, raw);
    },
  },
  divide: { before: (b) => dividend(b, false), after: divisor },
  divideSigned: { before: (b) => dividend(b, true), after: divisor },
  bitOffset: {
    before: (b) => {
      if (!('register' in b.g)) return;
      if (b.random.chance(85)) b.setLow(b.g.register, b.width, BigInt(b.random.between(-5000, 5000)));
      b.pinned.add(b.g.register);
    },
  },
  sparse: {
    after: (b) => {
      if (b.random.chance(35)) b.put(b.e, b.width, b.random.chance(40) ? 0n : 1n << BigInt(b.random.below(b.width)));
    },
  },
  sparseImmediate: {
    before: (b) => {
      b.immediate = BigInt(b.random.pick([0, 1, 10, 10, 10, 16, b.random.below(256)]));
    },
  },
  string: { before: (b) => void stringPointers(b) },
  compareStrings: {
    before: (b) => {
      const { from, to, elements } = stringPointers(b);
      if (b.random.chance(20)) return;
      const odd = b.random.below(elements + 3);
      const same = b.form.row.prefix !== 0xf2;
      const bytes = Array.from({ length: elements }, () => bytesOf(b.random.wide(), slot(b)));
      fill(b, from, elements, (i) => bytes[i]);
      fill(b, to, elements, (i) => (same === (i !== odd) ? bytes[i] : bytesOf(b.random.wide(), slot(b))));
    },
  },
  scanString: {
    before: (b) => {
      const { to, elements } = stringPointers(b);
      if (b.random.chance(20)) return;
      const odd = b.random.below(elements + 3);
      const same = b.form.row.prefix === 0xf3;
      fill(b, to, elements, (i) => (same === (i !== odd) ? element(b) : bytesOf(b.random.wide(), slot(b))));
    },
  },
  push,
  call: push,
  pushSegment: push,
  pop: { before: (b) => void b.stack(slot(b), 0) },
  popFlags: { before: (b) => popValues(b, [b.random.wide()]) },
  popSegment: { before: (b) => popValues(b, [BigInt(anySelector(b)) | (b.random.wide() << 16n)]) },
  pushAll: { before: (b) => void b.stack(8 * slot(b), -8 * slot(b)) },
  popAll: { before: (b) => void b.stack(8 * slot(b), 0) },
  enter: {
    before: (b) => {
      const levels = b.random.pick([0, 0, 0, 0, 1, 1, 2, 3, 5, 31, 33]);
      b.stack(8 * slot(b), -8 * slot(b), RBP);
      b.stack(slot(b) * (1 + (levels & 31)), -slot(b) * (1 + (levels & 31)));
      b.immediate = b.random.chance(80) ? BigInt(b.random.below(256)) : BigInt(b.random.below(65536));
      b.selector = levels;
      b.rflags &= ~0x4_0000; // AC: some processors check the alignment of the new top of the stack too
    },
  },
  leave: { before: (b) => void b.stack(slot(b), 0, RBP) },
  selector: { after: (b) => b.put(b.e, 16, BigInt(anySelector(b))) },
  farPointer: {
    bytes: 6,
    after: (b) => {
      const bytes = [...bytesOf(b.random.value(), slot(b)), ...bytesOf(BigInt(anySelector(b)), 2)];
      if ('at' in b.e && b.e.at >= 0) b.patch(b.e.at, Uint8Array.from(bytes));
    },
  },
  canonical: {
    after: (b) => {
      if (b.random.chance(70)) b.put(b.e, 64, BigInt.asUintN(64, BigInt.asIntN(47, b.random.wide())));
    },
  },
  target: { after: (b) => b.put(b.e, b.width, nearTarget(b)) },
  targetAndStack: { before: push.before, after: (b) => b.put(b.e, b.width, nearTarget(b)) },
  ret: { before: (b) => popValues(b, [nearTarget(b)]) },
  retFar: {
    before: (b) => {
      const { selector, offset } = farTarget(b);
      popValues(b, [offset, BigInt(selector)]);
    },
  },
  iret: {
    before: (b) => {
      const { selector, offset } = farTarget(b);
      const values = [offset, BigInt(selector), b.random.wide()];
      const ss = b.random.chance(75) ? b.random.pick([box.USER_DS, box.ldt(1), box.ldt(12)]) : anySelector(b);
      if (b.mode === 64) values.push(b.random.value(), BigInt(ss));
      popValues(b, values);
    },
  },
  loop: {
    before: (b) => {
      b.setPointer(RCX, b.random.pick([0n, 1n, 1n, 2n, b.random.value()]));
    },
  },
  farDirect: {
    before: (b) => {
      const { selector, offset } = farTarget(b);
      b.selector = selector;
      b.immediate = offset;
      b.stack(2 * slot(b), -2 * slot(b));
    },
  },
  farIndirect: { bytes: 6, before: (b) => void b.stack(2 * slot(b), -2 * slot(b)), after: FAR.after },
  softwareInterrupt: {
    before: (b) => {
      const vector = b.random.chance(30) ? b.random.pick([3, 4]) : b.random.below(256);
      b.immediate = BigInt(vector === 0x80 ? 0x81 : vector); // 0x80 is a system call
    },
  },
  bound: {
    bytes: 8,
    after: (b) => {
      if (!('at' in b.e) || b.e.at < 0 || !('register' in b.g) || b.random.chance(20)) return;
      const index = BigInt.asIntN(b.width, b.gpr[b.g.register]);
      const near = (): bigint => index + BigInt(b.random.between(-2, 2));
      const bounds = b.random.chance(50) ? [index - 5n, index + 5n] : [near(), near()];
      b.patch(b.e.at, Uint8Array.from([...bytesOf(bounds[0], slot(b)), ...bytesOf(bounds[1], slot(b))]));
    },
  },
  xlat: {
    before: (b) => {
      const offset = b.offset(b.dataSegment(), 1, b.addressSize);
      b.setPointer(RBX, BigInt.asUintN(b.addressSize, offset - (b.gpr[RAX] & 0xffn)));
    },
  },
  compareExchange: {
    before: (b) => b.pinned.add(RAX),
    after: (b) => {
      if (b.random.chance(50)) b.put(b.e, b.width, b.gpr[RAX]);
    },
  },
  compareExchangePair: {
    bytes: 16,
    before: (b) => b.pinned.add(RAX).add(RDX),
    after: (b) => {
      if (!('at' in b.e) || b.e.at < 0 || b.random.chance(40)) return;
      b.patch(b.e.at, Uint8Array.from([...bytesOf(b.gpr[RAX], slot(b)), ...bytesOf(b.gpr[RDX], slot(b))]));
    },
  },
} satisfies Record<string, Setup>;

export type SetupName = keyof typeof SETUPS;
