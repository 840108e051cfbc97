/** A personality: what stands behind a guest that does not own its machine.
 *
 * On bare metal the CPU delivers traps through the guest's own IDT and ports lead to the board. Under a hypervisor both
 * come here first: every exception, INT n, SYSCALL and interrupt, before a gate is read. The personality carries the
 * instruction out (a hypercall, an emulated WRMSR), sends the guest to the handler that it registered, or lets the CPU
 * go on as on bare metal. It sees the CPU through the interface below, which the engine's Cpu satisfies, and the world
 * outside through `PersonalityWorld`, which the machine gives it; it knows neither room.
 * May not: throw for anything that a guest can do; allocate without bound on a guest's word.
 * Next: personality/lguest/host.ts. */
import type { Saved } from '../base/saved.ts';
import type { CpuModel } from '../x86/cpuid.ts';
import type { Segment, VcpuState } from '../x86/vcpu-state.ts';

export type Trap = {
  vector: number;
  /** Absent for exceptions that push none. */
  errorCode?: number | undefined;
  /** Linear address of a #PF. */
  cr2?: bigint | undefined;
  /** What a #DB sets in DR6. */
  dr6?: number | undefined;
};

/** What became of a trap.
 *
 * native: nothing; the CPU does what it would do on bare metal.
 * entered: the guest goes on at the state that the personality has set (a handler); no instruction has completed.
 * completed: the instruction has been carried out, and RIP is where the guest goes on; it counts as one. */
export type TrapAnswer = 'native' | 'entered' | 'completed';

/** What every hypervisor has: interrupts and events of its own. */
export interface Hypervisor {
  /** Whether the guest is to be interrupted before its next instruction. Asked often: must be cheap. It is asked while
   * the hardware RFLAGS.IF is set and no shadow holds. */
  interruptPending(): boolean;
  /** Virtual time (ns) of the next thing that happens by itself; undefined when nothing is due. */
  nextEvent(): number | undefined;
  /** Does what is due at the CPU's `now`. */
  runEvents(): void;
  /** What somebody types at the guest's console; absent where the guest has no way to read. */
  receive?(bytes: Uint8Array): void;
  /** Handlers that the guest has registered, by vector: what a trace shows instead of an IDT. */
  traps?(): ReadonlyMap<number, RegisteredTrap>;
  /** Whether the guest waits inside a call that ends by itself, whatever RFLAGS.IF says. */
  blockedCall?(): 'waits' | 'over' | undefined;
  /** The guest goes on behind such a call. */
  wake?(): void;
  /** Names of what the guest asked for and is not built, each once: for the report. */
  readonly missing: readonly string[];
  /** What it remembers beside guest memory and registers; absent where a snapshot is not built. `restore` comes before the
   * first instruction, on one that was made as `save`'s was; guest memory is put back behind it. */
  save?(): Saved;
  restore?(saved: Saved, where: string): void;
}

/** A hypervisor beside a guest that owns its CPU: exceptions, ports and devices are the guest's and the board's. */
export interface HvmPersonality extends Hypervisor {
  /** VMCALL or VMMCALL, at any CPL. True: the instruction is to run again. */
  hypercall(): boolean;
  /** Registers that the CPU has not; undefined or false: #GP(0). */
  readMsr(number: number): bigint | undefined;
  writeMsr(number: number, value: bigint): boolean;
  /** Takes the interrupt that `interruptPending` announced: its vector. */
  acknowledge(): number;
  /** A device's interrupt is taken instead. */
  deviceInterrupt(): void;
  /** Physical addresses outside RAM; undefined or false where they are the board's. */
  physicalRead(at: number, size: 1 | 2 | 4): number | undefined;
  physicalWrite(at: number, size: 1 | 2 | 4, value: number): boolean;
}

/** A hypervisor that stands between a guest and its CPU. */
export interface Personality extends Hypervisor {
  /** state.rip is what a handler would see: the instruction of a fault, the next one of a trap. */
  exception(trap: Trap): TrapAnswer;
  /** INT n, INT3, INTO (taken) and INT1; state.rip is the instruction's own. */
  softwareInterrupt(vector: number, nextRip: bigint): TrapAnswer;
  /** SYSCALL; state.rip is the instruction's own. */
  systemCall(nextRip: bigint): TrapAnswer;
  /** May change only in this interface's methods. */
  interruptPending(): boolean;
  /** Takes the interrupt that `interruptPending` announced: wakes a halted guest, sends it to its handler. */
  interrupt(): void;
  /** Ports, when the CPU lets the guest have them (IOPL); all-ones where nothing answers. */
  portRead(port: number, size: 1 | 2 | 4): number;
  portWrite(port: number, size: 1 | 2 | 4, value: number): void;
  /** Physical addresses outside RAM; absent where they are the board's, and read all-ones. */
  physicalRead?(at: number, size: 1 | 2 | 4): number;
  physicalWrite?(at: number, size: 1 | 2 | 4, value: number): void;
}

/** A handler as the guest has registered it. */
export type RegisteredTrap = { address: bigint; dpl: number; kind: string };

/** Something that the guest asked of its hypervisor, or that was carried out for it: for traces. */
export type ToldEvent = {
  kind:
    | 'hypercall'
    | 'cr-write'
    | 'dr-write'
    | 'msr-read'
    | 'msr-write'
    | 'cpuid'
    | 'port-in'
    | 'port-out'
    | 'interrupt';
  /** The hypercall, register, MSR, leaf, port or vector. */
  number: number;
  /** A hypercall's name. */
  name?: string;
  values: readonly bigint[];
};

/** How a personality ends a run; the machine stops before the guest's next instruction. */
export type GuestEnd =
  /** It broke the hypervisor's rules, or crashed: one sentence. */
  | { kind: 'killed'; why: string }
  /** It asked for it. `words`: what it said, where the interface has room for words. */
  | { kind: 'shutdown'; how: 'poweroff' | 'reboot' | 'suspend' | 'crash'; words?: string };

/** What the machine gives a personality. */
export type PersonalityWorld = {
  cpu: PersonalityCpu;
  /** One byte for the console. */
  console: (byte: number) => void;
  end: (end: GuestEnd) => void;
  /** Absent when nobody traces. state.rip is still the instruction's own. */
  told?: (event: ToldEvent) => void;
  /** Seconds since 1970 at virtual time 0. */
  rtcSeconds: number;
};

/** The registers, as the engine's CpuState has them. Numbers of general registers and segments are the encoding's
 * (rax 0, rcx 1, rdx 2, rbx 3, rsp 4, rbp 5, rsi 6, rdi 7, r8-r15; es 0, cs 1, ss 2, ds 3, fs 4, gs 5, ldtr 6, tr 7). */
export interface PersonalityRegisters {
  gpr(number: number, size?: 1 | 2 | 4 | 8): bigint;
  setGpr(number: number, value: bigint, size?: 1 | 2 | 4 | 8): void;
  rip: bigint;
  /** The whole register as hardware has it. */
  rflags: number;
  /** After a change: `modeChanged`. */
  cpl: number;
  /** CR0, CR2, CR3, CR4, EFER, GDTR_BASE and the other names of engine/state.ts. After CR3: `flushTlb`. */
  get64(name: 'CR0' | 'CR2' | 'CR3' | 'CR4' | 'EFER' | 'KERNEL_GS_BASE' | 'GDTR_BASE' | 'IDTR_BASE'): bigint;
  set64(
    name: 'CR0' | 'CR2' | 'CR3' | 'CR4' | 'EFER' | 'KERNEL_GS_BASE' | 'GDTR_BASE' | 'IDTR_BASE',
    value: bigint,
  ): void;
  gdtrLimit: number;
  idtrLimit: number;
  dr(number: number): bigint;
  setDr(number: number, value: bigint): void;
  selector(segment: number): number;
  base(segment: number): bigint;
  setBase(segment: number, base: bigint): void;
  segment(segment: number): Segment;
  /** After a change of CS, SS, DS or ES: `modeChanged`. */
  setSegment(segment: number, value: Segment): void;
  readonly is64: boolean;
  read(): VcpuState;
  write(state: Partial<VcpuState>): void;
}

export interface PersonalityCpu {
  readonly state: PersonalityRegisters;
  readonly model: CpuModel;
  /** The engine's physical memory, in bytes: under Xen PV this is machine memory, the hypervisor's own frames included. */
  readonly buffer: ArrayBuffer;
  readonly ramOffset: number;
  readonly ramSize: number;
  /** Instructions completed; virtual nanoseconds. */
  readonly instructions: number;
  readonly now: number;
  /** By linear address, through the guest's page tables, at the current CPL (`system`: as a supervisor). They throw the
   * engine's GuestFault ({ vector, errorCode, cr2 }) where the guest's own access would fault. */
  readLinear(address: bigint, size: 1 | 2 | 4 | 8, system?: boolean): bigint;
  writeLinear(address: bigint, size: 1 | 2 | 4 | 8, value: bigint, system?: boolean): void;
  /** access: 0 read, 1 write, 2 fetch. Raises what an access would raise, without doing it. */
  probeLinear(address: bigint, length: number, access: 0 | 1 | 2, system?: boolean): void;
  flushTlb(): void;
  flushTlbPage(address: bigint): void;
  loadPdptes(cr3: number): boolean;
  /** After CPL, a mode bit, CS, SS, DS, ES or RFLAGS.AC changed. */
  modeChanged(): void;
  /** Before the guest runs on after bytes of physical memory were written past it: code there may have been decoded. */
  physicalWritten(at: number, length: number): void;
  /** The guest waits: it runs on when `interruptPending` says so. */
  halt(): void;
  /** It runs on without one. */
  wake(): void;
}

/** What `readLinear` and its kin throw when the guest's own access would have faulted. */
export type LinearFault = { vector: number; errorCode: number | undefined; cr2: bigint | undefined };

export const isLinearFault = (e: unknown): e is LinearFault =>
  typeof e === 'object' && e !== null && !(e instanceof Error) && typeof (e as LinearFault).vector === 'number';
