/** TableStores: a kernel's plain stores into its page tables, carried out as if it had asked.
 *
 * Tables are mapped read-only, so such a store faults. With the writable_pagetables assist Xen looks what it would have
 * written: into a table of level 1, at its natural alignment, an entry that mmu_update would take is written, and the guest
 * goes on behind its store and never knows. Linux relies on it early in its boot. Anything else stays a page fault.
 * Follows: xen/arch/x86/pv/ro-page-fault.c (ptwr_emulated_update, pv_ro_page_fault).
 * Differs: only the forms in store-decoder.ts; no string instruction. The caller asks for the assist and the mode.
 * May not: store what the rules refuse.   Next: personality/xen/store/tree.ts. */
import { PTE, RFLAGS } from '../../x86/constants.ts';
import { FRAME } from './frame-types.ts';
import type { MmuParts } from './mmu-calls.ts';
import { PAGE_OWNER } from './page-tables.ts';
import { decodeStore, type Store, type StoreRegisters } from './store-decoder.ts';

const MOST_BYTES = 15;
const RAX = 0;
const ARITHMETIC = RFLAGS.CF | RFLAGS.PF | RFLAGS.AF | RFLAGS.ZF | RFLAGS.SF | RFLAGS.OF;

export class TableStores {
  readonly #parts: MmuParts;
  readonly #code = new Uint8Array(MOST_BYTES);

  constructor(parts: MmuParts) {
    this.#parts = parts;
  }

  /** The guest's kernel took a page fault for writing at `address`, where something is mapped. True: the instruction has
   * been carried out and RIP is behind it. False: nothing has changed, the fault is the guest's. */
  emulate(registers: StoreRegisters, address: bigint): boolean {
    const { guest, memory, types, tables } = this.#parts;
    const mapping = guest.entryOf(address);
    if (mapping < 0) return false;
    const entry = memory.words[mapping];
    const mfn = entry >>> 12;
    if ((entry & (PTE.P | PTE.RW)) !== PTE.P || !types.isGuests(mfn) || types.type[mfn] !== FRAME.L1) return false;
    const length = guest.bytes(registers.rip, this.#code);
    const store = decodeStore(this.#code.subarray(0, length), registers);
    if (!store || store.address >> 12n !== address >> 12n || store.address % BigInt(store.size) !== 0n) return false;

    const slot = mfn * 1024 + Number(store.address & 0xff8n) / 4;
    const whole = (BigInt(memory.words[slot + 1]) << 32n) | BigInt(memory.words[slot]);
    const shift = (store.address & 7n) * 8n;
    const mask = (1n << BigInt(store.size * 8)) - 1n;
    const old = (whole >> shift) & mask;
    const result = outcome(store, old, registers);
    if (result.value !== undefined) {
      const value = (whole & ~(mask << shift)) | (result.value << shift);
      const failed = tables.update(slot, Number(value & 0xffff_ffffn), Number(value >> 32n), false, PAGE_OWNER.SELF);
      if (failed !== 0) return false;
      memory.settle();
    }
    if (store.operation === 'xchg') loadRegister(registers, store, old);
    if (store.operation === 'cmpxchg' && result.value === undefined) registers.setGpr(RAX, old, store.size);
    registers.rflags = (result.flags & ~RFLAGS.RF) | 0;
    registers.rip = BigInt.asUintN(64, registers.rip + BigInt(store.length));
    return true;
  }
}

/** What the store writes (undefined: nothing, a cmpxchg that found another value), and RFLAGS afterwards. */
function outcome(store: Store, old: bigint, registers: StoreRegisters): { value: bigint | undefined; flags: number } {
  const { operation, value, size } = store;
  const { rflags } = registers;
  const bit = 1n << (value & 63n); // for the three that number a bit
  const withCarry = (rflags & ~RFLAGS.CF) | (old & bit ? RFLAGS.CF : 0);
  switch (operation) {
    case 'mov':
    case 'xchg':
      return { value, flags: rflags };
    case 'or':
      return logic(old | value, size, rflags);
    case 'and':
      return logic(old & value, size, rflags);
    case 'xor':
      return logic(old ^ value, size, rflags);
    case 'bts':
      return { value: old | bit, flags: withCarry };
    case 'btr':
      return { value: old & ~bit, flags: withCarry };
    case 'btc':
      return { value: old ^ bit, flags: withCarry };
    case 'cmpxchg': {
      const expected = BigInt.asUintN(size * 8, registers.gpr(RAX, size));
      return { value: expected === old ? value : undefined, flags: compare(expected, old, size, rflags) };
    }
  }
}

function logic(value: bigint, size: number, rflags: number): { value: bigint; flags: number } {
  return { value, flags: (rflags & ~ARITHMETIC) | resultFlags(value, size) };
}

/** As CMP a, b leaves them. */
function compare(a: bigint, b: bigint, size: number, rflags: number): number {
  const bits = size * 8;
  const difference = BigInt.asUintN(bits, a - b);
  const sign = 1n << BigInt(bits - 1);
  let flags = resultFlags(difference, size);
  if (a < b) flags |= RFLAGS.CF;
  if ((a & 0xfn) < (b & 0xfn)) flags |= RFLAGS.AF;
  if (((a ^ b) & (a ^ difference) & sign) !== 0n) flags |= RFLAGS.OF;
  return (rflags & ~ARITHMETIC) | flags;
}

function resultFlags(value: bigint, size: number): number {
  let parity = Number(value & 0xffn);
  parity ^= parity >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  let flags = parity & 1 ? 0 : RFLAGS.PF;
  if (value === 0n) flags |= RFLAGS.ZF;
  if ((value >> BigInt(size * 8 - 1)) & 1n) flags |= RFLAGS.SF;
  return flags;
}

function loadRegister(registers: StoreRegisters, { register, highByte, size }: Store, old: bigint): void {
  if (!highByte) registers.setGpr(register, old, size);
  else registers.setGpr(register, (registers.gpr(register) & ~0xff00n) | (old << 8n));
}
