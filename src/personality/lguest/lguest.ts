/** lguest: the host of a 32-bit guest kernel that runs in ring 1 and knows it.
 *
 * The real one was a Linux module of 5,000 lines, written to be read: it mapped a few pages, the Switcher, at the top of
 * the guest's address space, and switched page tables, descriptor tables and stacks there and back for each trap. Here
 * the emulated CPU does the switching by calling us: every exception, INT n and interrupt of the guest ends up in one of
 * the methods below, and whatever they return to is the guest.
 *
 *   INT 0x1f in ring 1      a hypercall: first the ring in lguest_data, then the call itself (calls.ts)
 *   #GP in ring 1           perhaps a port instruction to emulate (ports.ts)
 *   any other exception     the guest's handler (idt.ts, traps.ts), or the end
 *   INT n                   the same, if the gate's DPL allows it; else the #GP that the CPU raises
 *   the clock               a virtual interrupt (interrupts.ts)
 *   memory beyond RAM       the host's window (gdt.ts), or a bad page table entry, which kills
 *
 * Ring 1 counts as supervisor in page tables, so the guest's kernel pages need no user bit, and its own tables can be
 * walked as they are. CR3 and CR0.PG are set by LHCALL_NEW_PGTABLE; before, linear addresses are physical.
 * Follows: Linux drivers/lguest/core.c, hypercalls.c, x86/core.c.   May not: reach a device; a guest here has none.
 * Next: personality/xen/index.ts. */
import { hex } from '../../base/numbers.ts';
import { anything, flag, listOf, maybe, misfit, record, type Saved, text, whole, word32 } from '../../base/saved.ts';
import { HCALL_DONE, HcallArgs, LguestData, LHCALL_RING_SIZE } from '../../layout/lguest-data.ts';
import { GuestMemory } from '../../memory/guest-memory.ts';
import { LGUEST_HOST } from '../../memory/map.ts';
import { VECTOR } from '../../x86/constants.ts';
import type { GuestEnd, Personality, PersonalityWorld, RegisteredTrap, Trap, TrapAnswer } from '../personality.ts';
import { CALLS, type CallArguments, keepHostMapped, LHCALL_LGUEST_INIT } from './calls.ts';
import { GuestGdt } from './gdt.ts';
import { GUEST_RING, guestBytes, Killed, kill, LGUEST_TRAP_ENTRY, SharedData } from './host.ts';
import { FIRST_EXTERNAL_VECTOR, GuestIdt, SYSCALL_VECTOR } from './idt.ts';
import { VirtualInterrupts } from './interrupts.ts';
import { emulatePortInstruction } from './ports.ts';
import { enterHandler, type KernelStack } from './traps.ts';

const U32 = 0xffff_ffffn;
/** One instruction is one nanosecond of virtual time. */
const TSC_KHZ = 1_000_000;
/** Numbers of EAX, EBX, ECX, EDX and ESI. */
const CALL_REGISTERS = [0, 3, 1, 2, 6] as const;

/** `memorySize`: the guest's RAM in bytes; the engine's may be some KiB longer. */
export function createLguest(world: PersonalityWorld, { memorySize }: { memorySize: number }): Lguest {
  return new Lguest(world, memorySize);
}

export class Lguest implements Personality {
  readonly missing: string[] = [];
  readonly #world: PersonalityWorld;
  readonly #memory: GuestMemory;
  readonly #gdt = new GuestGdt();
  readonly #idt = new GuestIdt();
  readonly #stack: KernelStack = { ss: 0, esp: 0 };
  readonly #interrupts: VirtualInterrupts;
  /** Where the ring is read next. */
  #nextSlot = 0;
  #ended = false;

  constructor(world: PersonalityWorld, memorySize: number) {
    const { cpu } = world;
    this.#world = world;
    this.#memory = new GuestMemory(cpu.buffer, cpu.ramOffset, memorySize);
    this.#memory.setWriteObserver((at, length) => cpu.physicalWritten(at, length));
    this.#interrupts = new VirtualInterrupts(world, this.#gdt, this.#idt, this.#stack);
  }

  save(): Saved {
    return {
      missing: this.missing,
      gdt: this.#gdt.save(),
      idt: this.#idt.save(),
      stack: this.#stack,
      interrupts: this.#interrupts.save(),
      dataAt: this.#interrupts.data?.at,
      nextSlot: this.#nextSlot,
      ended: this.#ended,
    };
  }

  restore(saved: Saved, where: string): void {
    const state = record({
      missing: listOf(text),
      gdt: anything,
      idt: anything,
      stack: record({ ss: word32, esp: word32 }),
      interrupts: anything,
      dataAt: maybe(whole()),
      nextSlot: whole(LHCALL_RING_SIZE - 1),
      ended: flag,
    })(saved, where);
    this.missing.splice(0, this.missing.length, ...state.missing);
    this.#gdt.restore(state.gdt, `${where}.gdt`);
    this.#idt.restore(state.idt, `${where}.idt`);
    Object.assign(this.#stack, state.stack);
    this.#interrupts.restore(state.interrupts, `${where}.interrupts`);
    const { dataAt } = state;
    if (dataAt !== undefined && !this.#memory.contains(dataAt, LguestData.size))
      throw misfit(where, 'lguest_data lies outside its memory');
    this.#interrupts.data = dataAt === undefined ? undefined : new SharedData(this.#memory, dataAt);
    this.#nextSlot = state.nextSlot;
    this.#ended = state.ended;
  }

  exception({ vector, errorCode, cr2 }: Trap): TrapAnswer {
    return this.#serve('entered', () => {
      const { cpu } = this.#world;
      if (vector === VECTOR.GP && cpu.state.cpl === GUEST_RING && emulatePortInstruction(cpu)) return 'completed';
      if (vector === VECTOR.PF && cr2 !== undefined) this.#interrupts.data?.set('cr2', Number(cr2 & U32));
      const gate = this.#idt.gate(vector);
      const eip = Number(cpu.state.rip & U32);
      if (!gate) {
        const more = vector === VECTOR.PF ? cr2 : errorCode;
        return kill(`unhandled trap ${vector} at ${hex(eip)}${more === undefined ? '' : ` (${hex(more)})`}`);
      }
      enterHandler(cpu, this.#gdt, this.#interrupts.data, this.#stack, {
        gate,
        returnTo: eip,
        errorCode,
        resume: isFault(vector),
      });
      return 'entered';
    });
  }

  softwareInterrupt(vector: number, nextRip: bigint): TrapAnswer {
    const { state } = this.#world.cpu;
    const gate = this.#idt.gate(vector);
    const dpl = vector === LGUEST_TRAP_ENTRY ? GUEST_RING : (gate?.dpl ?? 0);
    if (!this.#ended && state.cpl !== 0 && dpl < state.cpl) return 'native'; // #GP, which comes here as an exception
    return this.#serve('completed', () => {
      state.rip = nextRip;
      if (vector === LGUEST_TRAP_ENTRY) {
        this.#hypercall();
        return 'completed';
      }
      // For a vector that real devices have, the host took it for one of these.
      if (!gate || (vector >= FIRST_EXTERNAL_VECTOR && vector !== SYSCALL_VECTOR)) return 'completed';
      const returnTo = Number(nextRip & U32);
      enterHandler(this.#world.cpu, this.#gdt, this.#interrupts.data, this.#stack, { gate, returnTo });
      return 'completed';
    });
  }

  /** EFER.SCE is clear: #UD, as on any 32-bit kernel that did not ask for it. */
  systemCall(): TrapAnswer {
    return 'native';
  }

  traps(): ReadonlyMap<number, RegisteredTrap> {
    return this.#idt.registered();
  }

  interruptPending(): boolean {
    return this.#interrupts.pending && !this.#ended;
  }

  interrupt(): void {
    this.#guard('entered', () => {
      this.#interrupts.take(); // and no second look: what it could not deliver has to wait for another visit
      return 'entered';
    });
  }

  nextEvent(): number | undefined {
    return this.#ended ? undefined : this.#interrupts.nextEvent();
  }

  runEvents(): void {
    if (!this.#ended) this.#interrupts.runEvents();
  }

  /** Never asked in ring 1. */
  portRead(_port: number, size: 1 | 2 | 4): number {
    return size === 4 ? 0xffff_ffff : 2 ** (8 * size) - 1;
  }
  portWrite(): void {}

  /** Physical memory that is not the guest's: the host's window, read by the CPU for a segment or by a curious guest.
   * Known gap: the engine's RAM is whole 64 KiB, so behind a guest of another size lies a piece that its page tables can
   * reach unseen; nothing is in it. */
  physicalRead(at: number, size: 1 | 2 | 4): number {
    if (at >= LGUEST_HOST.at && at < LGUEST_HOST.at + LGUEST_HOST.size)
      return this.#gdt.read(at - LGUEST_HOST.at, size);
    this.#outside('reads', at);
    return size === 4 ? 0xffff_ffff : 2 ** (8 * size) - 1;
  }
  physicalWrite(at: number): void {
    this.#outside('writes', at);
  }

  #outside(verb: string, at: number): void {
    const memory = `its memory ends at ${hex(this.#memory.size)}`;
    this.#end({ kind: 'killed', why: `lguest: the guest ${verb} physical ${hex(at)}, and ${memory}` });
  }

  /** One visit to the host: the work, then a look at what the guest waits for. */
  #serve(whenEnded: TrapAnswer, work: () => TrapAnswer): TrapAnswer {
    return this.#guard(whenEnded, () => {
      const answer = work();
      this.#interrupts.look();
      return answer;
    });
  }

  /** The rules that hold at each visit, and the end of a guest that breaks one. */
  #guard(whenEnded: TrapAnswer, work: () => TrapAnswer): TrapAnswer {
    if (this.#ended) return whenEnded;
    try {
      const { cpu } = this.#world;
      if (cpu.state.cpl === 0) kill('it has reached ring 0');
      keepHostMapped({ cpu, memory: this.#memory });
      return work();
    } catch (reason) {
      if (!(reason instanceof Killed)) throw reason;
      this.#end({ kind: 'killed', why: `lguest killed the guest: ${reason.why}` });
      return whenEnded;
    }
  }

  #end(end: GuestEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#world.end(end);
  }

  #hypercall(): void {
    const { state } = this.#world.cpu;
    const [number, ...args] = CALL_REGISTERS.map((register) => Number(state.gpr(register, 4)));
    const { data } = this.#interrupts;
    if (!data) {
      if (number !== LHCALL_LGUEST_INIT) kill(`hypercall ${nameOf(number)} before LGUEST_INIT`);
      this.#world.told?.({ kind: 'hypercall', number, name: nameOf(number), values: [BigInt(args[0])] });
      this.#initialise(args[0]);
      return;
    }
    this.#drainRing(data);
    this.#call(number, args as unknown as CallArguments);
  }

  /** The calls that the guest has put aside, from our own place in the ring on, until one is not pending. */
  #drainRing(data: SharedData): void {
    const ring = data.at + LguestData.offsetOf('hcalls');
    const statuses = data.at + LguestData.offsetOf('hcall_status');
    for (let i = 0; i < LHCALL_RING_SIZE && !this.#ended; i++) {
      const slot = this.#nextSlot;
      if (this.#memory.readU8(statuses + slot) === HCALL_DONE) return;
      this.#nextSlot = (slot + 1) % LHCALL_RING_SIZE;
      const { arg0, arg1, arg2, arg3, arg4 } = HcallArgs.read(this.#memory, ring + slot * HcallArgs.size);
      this.#call(arg0, [arg1, arg2, arg3, arg4]);
      this.#memory.writeU8(statuses + slot, HCALL_DONE);
    }
  }

  #call(number: number, args: CallArguments): void {
    if (this.#ended) return;
    const call = CALLS[number];
    const values = args.map((value) => BigInt(value >>> 0));
    this.#world.told?.({ kind: 'hypercall', number, name: nameOf(number), values });
    if (call && 'run' in call) {
      const { cpu, console } = this.#world;
      const [memory, gdt, idt, interrupts, stack] = [this.#memory, this.#gdt, this.#idt, this.#interrupts, this.#stack];
      call.run({ cpu, memory, gdt, idt, interrupts, stack, console, end: (end) => this.#end(end) }, args);
      return;
    }
    if (call && !this.missing.includes(nameOf(number))) this.missing.push(nameOf(number));
    kill(call ? `bad hypercall ${nameOf(number)}: ${call.refused}` : `bad hypercall ${number}`);
  }

  /** LHCALL_LGUEST_INIT: from here on there is shared memory. */
  #initialise(at: number): void {
    guestBytes(this.#memory, at, LguestData.size, 'lguest_data');
    const data = new SharedData(this.#memory, at);
    const vector = data.get('syscall_vec');
    if (vector !== SYSCALL_VECTOR)
      kill(`bad syscall vector ${hex(vector)}: the host has kept ${hex(SYSCALL_VECTOR)} free`);
    const kernel = data.get('kernel_address');
    if (kernel >= LGUEST_HOST.at) kill(`bad kernel address ${hex(kernel)}: the host is at ${hex(LGUEST_HOST.at)}`);
    data.set('tsc_khz', this.#world.cpu.model.features.has('TSC') ? TSC_KHZ : 0);
    data.set('reserve_mem', LGUEST_HOST.size);
    this.#interrupts.data = data;
    this.#interrupts.noirqIret = data.get('noirq_iret');
    this.#interrupts.writeTime();
  }
}

function nameOf(number: number): string {
  const call = CALLS[number];
  return call ? `LHCALL_${call.name} (${number})` : String(number);
}

/** Faults push RF set; #DB, NMI, #BP, #OF, #DF and #MC do not. */
function isFault(vector: number): boolean {
  return ![VECTOR.DB, VECTOR.NMI, VECTOR.BP, VECTOR.OF, VECTOR.DF, VECTOR.MC].includes(vector as never);
}
