/** CpuCore: what the system half of the CPU (faults, segments, page walks, control registers) sees of it.
 *
 * Rare instructions are TypeScript helpers over the same state as the generated code. A helper that the guest made
 * fail throws a GuestFault before it has changed anything; the run loop turns that into an exception delivered through
 * the guest's IDT. Page walks behind ordinary loads and stores never throw: they return -1 and leave the fault in
 * STATE.FAULT_*. May not: know the machine's devices; they are behind CpuHost.   Next: engine/cpu-state.ts. */
import type { CpuState } from './cpu-state.ts';

/** An x86 exception as a value. Not an Error: it has no stack to collect and is part of normal running. */
export class GuestFault {
  readonly vector: number;
  readonly errorCode: number | undefined;
  /** Linear address, for #PF. */
  readonly cr2: bigint | undefined;
  constructor(vector: number, errorCode?: number, cr2?: bigint) {
    this.vector = vector;
    this.errorCode = errorCode;
    this.cr2 = cr2;
  }
}

/** The guest needs something that is not built; ends the run with exit code 6 by this name. */
export class Unbuilt {
  readonly what: string;
  /** The table in our sources where it belongs. */
  readonly table: string;
  constructor(what: string, table: string) {
    this.what = what;
    this.table = table;
  }
}

/** What the CPU asks of the machine around it. */
export interface CpuHost {
  /** Unassigned ports read all-ones. */
  portRead(port: number, size: 1 | 2 | 4): number;
  portWrite(port: number, size: 1 | 2 | 4, value: number): void;
  /** Guest-physical accesses outside RAM; 8-byte accesses arrive as two of 4. */
  mmioRead(gpa: number, size: 1 | 2 | 4): number;
  mmioWrite(gpa: number, size: 1 | 2 | 4, value: number): void;
  /** Level of the INTR line. */
  interruptPending(): boolean;
  /** The interrupt-acknowledge cycle: the vector of the highest pending request. */
  acknowledgeInterrupt(): number;
  /** After a port access: true when no event and no wish to stop has moved, so that the CPU may go on by itself. */
  nothingMoved?(): boolean;
}

/** What became of a trap that a hypervisor was asked about: nothing (the CPU does as on bare metal), the guest was sent
 * to a handler, or the instruction was carried out and counts as one. */
export type TrapAnswer = 'native' | 'entered' | 'completed';

/** A hypervisor behind the guest: asked before any gate of the guest's is read. Each answer ends the run with an event,
 * since it may have moved the next one. */
export interface TrapHooks {
  /** state.rip is what a handler would see. */
  exception(trap: { vector: number; errorCode?: number; cr2?: bigint; dr6?: number }): TrapAnswer;
  /** INT n, INT3, INTO (taken) and INT1; state.rip is the instruction's own. */
  softwareInterrupt(vector: number, nextRip: bigint): TrapAnswer;
  /** SYSCALL; state.rip is the instruction's own. */
  systemCall(nextRip: bigint): TrapAnswer;
  /** Takes the interrupt that CpuHost.interruptPending announced. */
  interrupt(): void;
}

/** A hypervisor beside the guest, which calls it. */
export interface CallHooks {
  /** VMCALL or VMMCALL at any CPL; state.rip is the instruction's own. True: it is to run again. */
  hypercall(): boolean;
  /** Registers that the CPU has not; undefined or false: #GP(0). */
  readMsr(number: number): bigint | undefined;
  writeMsr(number: number, value: bigint): boolean;
}

export const ACCESS = { READ: 0, WRITE: 1, FETCH: 2 } as const;
export type Access = 0 | 1 | 2;

/** A decoded instruction as a helper sees it. Register numbers are 0-15, widths are bytes. */
export interface HelperInsn {
  /** RIP of the instruction and of the one behind it (already masked to the code size). */
  readonly rip: bigint;
  readonly nextRip: bigint;
  readonly length: number;
  /** Name of the operation, such as 'lgdt'. */
  readonly name: string;
  /** Effective operand size after 66 and REX.W: 2, 4 or 8. */
  readonly operandSize: 2 | 4 | 8;
  /** Effective address size after 67: 2, 4 or 8. */
  readonly addressSize: 2 | 4 | 8;
  /** 0 none, 2 REPNE (F2), 3 REP (F3). */
  readonly rep: 0 | 2 | 3;
  /** ModRM.reg with REX.R, and, when the r/m operand is a register, its number with REX.B. */
  readonly reg: number;
  readonly isMemory: boolean;
  readonly rm: number;
  /** ModRM.mod, for the x87's last opcode. */
  readonly mod: number;
  /** The memory operand: segment number and effective address (offset within the segment, address-size masked). */
  readonly segment: number;
  offset(): bigint;
  /** Immediate operand, sign-extended to 64 bits as encoded; far pointers: offset here, selector in immediate2. */
  readonly immediate: bigint;
  readonly immediate2: number;
  /** Opcode byte's low bits where the opcode encodes a register (push sreg, bswap...). */
  readonly opcode: number;
}

export interface CpuCore {
  readonly state: CpuState;
  readonly host: CpuHost;
  /** Absent: VMCALL and VMMCALL raise #UD. */
  readonly calls?: CallHooks | undefined;
  /** Guest RAM in bytes; guest-physical addresses at or above it go to host.mmio*. */
  readonly ramSize: number;
  /** Instructions completed so far, exact at any moment (in a helper: without the running instruction). */
  readonly instructions: number;
  /** Virtual time in ns: instructions plus skipped idle time. The TSC derives from it. */
  readonly now: number;

  // Memory (engine/access.ts). Addresses are linear unless an offset in a segment is meant. All throw GuestFault.
  // `system` accesses (descriptor tables, TSS, IDT) are supervisor accesses at any CPL.
  readLinear(address: bigint, size: 1 | 2 | 4 | 8, system?: boolean): bigint;
  writeLinear(address: bigint, size: 1 | 2 | 4 | 8, value: bigint, system?: boolean): void;
  /** Translates every page of the range and raises what an access would raise, without doing it. */
  probeLinear(address: bigint, length: number, access: Access, system?: boolean): void;
  /** Linear address of an access to segment:offset, after limit, type and canonical checks (#GP/#SS). */
  linear(segment: number, offset: bigint, size: number, write: boolean): bigint;
  readSegment(segment: number, offset: bigint, size: 1 | 2 | 4 | 8): bigint;
  writeSegment(segment: number, offset: bigint, size: 1 | 2 | 4 | 8, value: bigint): void;

  /** Drops cached translations: all of them (but for global pages, as CR3 loads), or those of one page. */
  flushTlb(keepGlobal?: boolean): void;
  flushTlbPage(address: bigint): void;
  /** To be called after anything that the mode word or the TLB choice depends on changed (CR0, CR4, EFER, CS, SS, DS,
   * ES, CPL, RFLAGS.AC, DR7). */
  modeChanged(): void;
  /** Guest-physical write past the TLB (page-table A/D bits): tells the code map. Host offsets are RAM + gpa. */
  physicalWritten(gpa: number, length: number): void;
}
