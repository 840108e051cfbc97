/** The lguest host: what its parts share, and how a guest dies.
 *
 * lguest's rule is short: a guest that breaks the contract is killed, and the launcher prints one sentence. Here a
 * handler throws a `Killed` at the spot where it finds out; the Personality (lguest.ts) catches it at its border and
 * hands the sentence to the machine, so nothing thrown ever leaves this room.
 * May not: be seen outside personality/lguest.   Next: personality/lguest/gdt.ts. */
import { hex } from '../../base/numbers.ts';
import { LguestData } from '../../layout/lguest-data.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { isLinearFault, type PersonalityCpu } from '../personality.ts';

/** The ring that guest kernels run in: ring 0 is the host's. */
export const GUEST_RING = 1;
/** __KERNEL_CS of 32-bit Linux in the guest's ring: where every handler of the guest's runs. */
export const KERNEL_CS = 0x60 | GUEST_RING;
/** The vector of hypercalls. */
export const LGUEST_TRAP_ENTRY = 0x1f;
/** EFLAGS.IF, as irq_enabled and irq_pending hold it. */
export const IF = 0x200;

/** The guest broke a rule; one sentence. Not an Error: it is caught in this room. */
export class Killed {
  readonly why: string;
  constructor(why: string) {
    this.why = why;
  }
}

export function kill(why: string): never {
  throw new Killed(why);
}

/** lguest_data in the guest's memory, once LHCALL_LGUEST_INIT has named it. The whole struct lies in RAM. */
export class SharedData {
  readonly #memory: GuestMemory;
  /** Guest physical. */
  readonly at: number;

  constructor(memory: GuestMemory, at: number) {
    this.#memory = memory;
    this.at = at;
  }

  get(field: Word): number {
    return this.#memory.readU32(this.at + LguestData.offsetOf(field));
  }
  set(field: Word, value: number): void {
    this.#memory.writeU32(this.at + LguestData.offsetOf(field), value >>> 0);
  }
  /** Seconds since 1970 and nanoseconds. */
  setTime(seconds: number, nanoseconds: number): void {
    LguestData.write(this.#memory.writing, this.at, { time: { tv_sec: seconds >>> 0, tv_nsec: nanoseconds } });
  }
}
type Word = Exclude<keyof typeof LguestData.fields, 'time' | 'hcall_status' | 'hcalls'>;

/** True when [at, at + length) is the guest's memory: lguest_address_ok(). */
export function inMemory(memory: GuestMemory, at: number, length: number): boolean {
  return memory.contains(at, length);
}

/** Bytes that a hypercall points to. A view: read it before the guest runs on. */
export function guestBytes(memory: GuestMemory, at: number, length: number, what: string): Uint8Array {
  if (!inMemory(memory, at, length))
    kill(`${what} at ${hex(at)}, ${length} bytes, lies outside its ${hex(memory.size)} bytes of memory`);
  return memory.bytes(at, length);
}

/** Pushes words on the guest's kernel stack, the first one highest, and gives the new stack pointer. The address is flat,
 * and the guest's own page tables decide; a stack that is not there cannot even be told of a fault. */
export function pushWords(cpu: PersonalityCpu, stackPointer: number, words: readonly number[]): number {
  let sp = stackPointer >>> 0;
  for (const word of words) {
    sp = (sp - 4) >>> 0;
    touchStack(sp, () => cpu.writeLinear(BigInt(sp), 4, BigInt(word >>> 0), true));
  }
  return sp;
}

/** A word of the guest's kernel stack. */
export function stackWord(cpu: PersonalityCpu, address: number): number {
  const at = address >>> 0;
  return touchStack(at, () => Number(cpu.readLinear(BigInt(at), 4, true)));
}

/** Does what needs a page of the stack, and kills the guest where it faults. */
export function touchStack<T>(address: number, access: () => T): T {
  try {
    return access();
  } catch (fault) {
    if (!isLinearFault(fault)) throw fault;
    return kill(`its kernel stack is not there: ${hex(address)} is not mapped for writing`);
  }
}
