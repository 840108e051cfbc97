/** The stores with which a kernel writes page-table entries, decoded from their bytes.
 *
 * Plain MOV, XCHG, CMPXCHG, and the locked OR, AND, XOR, BTS, BTR and BTC that become of set_bit and its kin. All in
 * 64-bit code with 64-bit addresses, to memory; what is anything else is not decoded, and stays the page fault that it was.
 * Follows: SDM Vol. 2, 2.1 and 2.2 (ModRM, SIB, REX), the instructions' own pages.
 * May not: read or write what the instruction is about.   Next: personality/xen/table-stores.ts. */

/** What is needed of the registers; personality.ts's PersonalityRegisters has it. */
export type StoreRegisters = {
  gpr(number: number, size?: 1 | 2 | 4 | 8): bigint;
  setGpr(number: number, value: bigint, size?: 1 | 2 | 4 | 8): void;
  base(segment: number): bigint;
  rip: bigint;
  rflags: number;
};

export type StoreOperation = 'mov' | 'xchg' | 'cmpxchg' | 'or' | 'and' | 'xor' | 'bts' | 'btr' | 'btc';
export type Store = {
  operation: StoreOperation;
  /** Of the instruction and of the operand, in bytes. */
  length: number;
  size: 1 | 2 | 4 | 8;
  /** Linear address. */
  address: bigint;
  /** The source operand, `size` bytes of it; the bit's number within the operand for bts, btr and btc. */
  value: bigint;
  /** Which register xchg loads, and whether it is AH, CH, DH or BH (bits 8-15 of it). */
  register: number;
  highByte: boolean;
};

const [FS, GS] = [4, 5];
const U64 = (1n << 64n) - 1n;
/** By bits 3-5 of a ModRM byte: the operations of opcodes 80, 81, 83 and of 0F BA. */
const IMMEDIATE_GROUP: Readonly<Record<number, StoreOperation>> = { 1: 'or', 4: 'and', 6: 'xor' };
const BIT_GROUP: Readonly<Record<number, StoreOperation>> = { 5: 'bts', 6: 'btr', 7: 'btc' };

/** One-byte opcodes, the even one of each pair; bit 0 says whether the operand is wider than a byte. */
const WITH_REGISTER: Readonly<Record<number, StoreOperation>> = {
  136: 'mov',
  134: 'xchg',
  8: 'or',
  32: 'and',
  48: 'xor',
};
const BITS_BY_REGISTER: Readonly<Record<number, StoreOperation>> = { 171: 'bts', 179: 'btr', 187: 'btc' };

/** Undefined when the bytes are none of these stores, or end before it does. */
export function decodeStore(code: Uint8Array, registers: StoreRegisters): Store | undefined {
  const reader = new Reader(code);
  let operand16 = false;
  let segment = -1;
  let rex = 0;
  let opcode = reader.byte();
  for (; isPrefix(opcode); opcode = reader.byte()) {
    if (opcode === 0x66) operand16 = true;
    if (opcode === 0x64) segment = FS;
    if (opcode === 0x65) segment = GS;
  }
  if ((opcode & 0xf0) === 0x40) {
    rex = opcode;
    opcode = reader.byte();
  }
  const wide = (rex & 8) !== 0 ? 8 : operand16 ? 2 : 4;
  const twoByte = opcode === 0x0f;
  if (twoByte) opcode = reader.byte();
  const modrm = reader.byte();
  if (modrm < 0 || modrm >= 0xc0) return undefined;
  const effective = memoryOperand(reader, modrm, rex, registers);
  const group = (modrm >> 3) & 7;
  const register = group | ((rex & 4) << 1);
  const size = (opcode & 1) === 0 ? 1 : wide;
  const source = () => registerValue(registers, register, size, rex !== 0);

  let operation: StoreOperation | undefined;
  let value: bigint;
  let displacement = 0n;
  if (twoByte && (opcode & 0xfe) === 0xb0) {
    operation = 'cmpxchg';
    value = source();
  } else if (twoByte && opcode === 0xba) {
    operation = BIT_GROUP[group];
    value = BigInt(reader.byte() & (wide * 8 - 1));
    return finish(wide);
  } else if (twoByte) {
    operation = BITS_BY_REGISTER[opcode];
    // The bit's number may lead away from the operand, in whole operands.
    const bit = BigInt.asIntN(wide * 8, registers.gpr(register, wide));
    const inOperand = bit & BigInt(wide * 8 - 1);
    displacement = (bit - inOperand) / 8n;
    value = inOperand;
    return finish(wide);
  } else if ((opcode & 0xfe) === 0xc6) {
    operation = group === 0 ? 'mov' : undefined;
    value = reader.signed(size === 8 ? 4 : size);
  } else if (opcode === 0x80 || opcode === 0x81 || opcode === 0x83) {
    operation = IMMEDIATE_GROUP[group];
    value = reader.signed(opcode === 0x81 ? (size === 8 ? 4 : size) : 1);
  } else {
    operation = WITH_REGISTER[opcode & 0xfe];
    value = source();
  }
  return finish(size);

  function finish(operandSize: 1 | 2 | 4 | 8): Store | undefined {
    if (operation === undefined || reader.ranOut) return undefined;
    const next = effective.relative ? registers.rip + BigInt(reader.at) : 0n;
    const base = segment >= 0 ? registers.base(segment) : 0n;
    return {
      operation,
      length: reader.at,
      size: operandSize,
      address: (effective.offset + next + base + displacement) & U64,
      value: BigInt.asUintN(operandSize * 8, value),
      register: isHighByte(register, operandSize, rex !== 0) ? register - 4 : register,
      highByte: isHighByte(register, operandSize, rex !== 0),
    };
  }
}

/** Operand size, LOCK and segments; without the address size, which no kernel uses for this. */
const isPrefix = (byte: number): boolean =>
  byte === 0x66 ||
  byte === 0xf0 ||
  byte === 0x2e ||
  byte === 0x36 ||
  byte === 0x3e ||
  byte === 0x26 ||
  byte === 0x64 ||
  byte === 0x65;

const isHighByte = (register: number, size: number, hasRex: boolean): boolean => size === 1 && !hasRex && register >= 4;

function registerValue(registers: StoreRegisters, register: number, size: 1 | 2 | 4 | 8, hasRex: boolean): bigint {
  return isHighByte(register, size, hasRex)
    ? (registers.gpr(register - 4) >> 8n) & 0xffn
    : registers.gpr(register, size);
}

/** ModRM, SIB and displacement; relative: to the end of the instruction. */
function memoryOperand(
  reader: Reader,
  modrm: number,
  rex: number,
  registers: StoreRegisters,
): { offset: bigint; relative: boolean } {
  const mod = modrm >> 6;
  const rm = modrm & 7;
  let offset = 0n;
  if (mod === 0 && rm === 5) return { offset: reader.signed(4), relative: true };
  if (rm === 4) {
    const sib = reader.byte();
    const index = ((sib >> 3) & 7) | ((rex & 2) << 2);
    if (index !== 4) offset += registers.gpr(index) << BigInt(sib >> 6);
    if ((sib & 7) === 5 && mod === 0) return { offset: offset + reader.signed(4), relative: false };
    offset += registers.gpr((sib & 7) | ((rex & 1) << 3));
  } else offset += registers.gpr(rm | ((rex & 1) << 3));
  if (mod === 1) offset += reader.signed(1);
  if (mod === 2) offset += reader.signed(4);
  return { offset, relative: false };
}

class Reader {
  readonly #code: Uint8Array;
  at = 0;

  constructor(code: Uint8Array) {
    this.#code = code;
  }

  get ranOut(): boolean {
    return this.at > this.#code.length;
  }

  /** -1 behind the end. */
  byte(): number {
    const at = this.at++;
    return at < this.#code.length ? this.#code[at] : -1;
  }

  signed(size: number): bigint {
    let value = 0n;
    for (let i = 0; i < size; i++) value |= BigInt(this.byte() & 0xff) << BigInt(8 * i);
    return BigInt.asIntN(size * 8, value);
  }
}
