/** CpuDriver: one way to set a CPU up, execute one instruction and read everything back.
 *
 * The recorded vectors (test/oracle) and the engine's own tables of cases ask for nothing more than this, so that the
 * same cases run on the interpreter, later on the translator, and on whatever else can stand behind it.
 * A CPU runs at CPL 3 behind paging, in the world of a user process: pages that are present or not, writable or not,
 * a GDT that looks like Linux's and an LDT. May not: know an instruction.   Next: test/oracle/sandbox.ts, the world. */
import type { Segment, SegmentName } from '../../src/x86/vcpu-state.ts';

/** What a linear page allows at CPL 3. Only `rx` may be fetched from (NX is set on the others); all are user pages with
 * A and D already set. What is in no range is not present. */
export type PageAccess = 'rw' | 'r' | 'rx';

/** The world of a set of cases: what does not change from case to case. Beside it, as Linux has it: CR0.WP and CR0.AM are
 * set, CR4.UMIP and CR4.FSGSBASE too, EFER.NXE, IOPL is 0 and the TSS's I/O bitmap denies every port. IDT gates 3 and 4
 * have DPL 3, all others DPL 0 (or are absent: the error code is the same). */
export type CpuWorld = {
  /** Ranges of linear addresses, 4 KiB aligned, identity-mapped or not as the driver likes; below 2 GiB. */
  pages: readonly { at: number; bytes: Uint8Array; access: PageAccess }[];
  /** Descriptor tables as the CPU reads them; where they lie in (supervisor) memory is the driver's affair. */
  gdt: Uint8Array;
  ldt: Uint8Array;
};

/** The first state of a case. Selectors and hidden parts of the segment registers are both given and agree. */
export type CpuStart = {
  /** 64: EFER.LMA with CS.L; 32: compatibility mode (a 16-bit code segment says so in its D bit). */
  mode: 64 | 32;
  /** In the encoding's order, rax to r15. In compatibility mode the upper halves are 0. */
  gpr: readonly bigint[];
  /** Offset in CS. */
  rip: bigint;
  rflags: bigint;
  segments: Record<SegmentName, Segment>;
  /** Bytes to put at linear addresses before the instruction runs, whatever the page allows. All other memory is as the
   * last case left it. */
  memory: readonly { at: number; bytes: Uint8Array }[];
};

export type CpuFault = { vector: number; errorCode?: number; cr2?: bigint };

export interface CpuDriver {
  readonly name: string;
  /** Maps the pages, fills them, and installs the tables. Called once before any `load`. */
  enter(world: CpuWorld): void;
  load(start: CpuStart): void;
  /** Executes exactly one instruction, a REP to its end, and returns the exception that it raised, before delivery:
   * registers are then as the CPU would push them (rip at the instruction for a fault, behind it for #BP and #OF). */
  step(): CpuFault | undefined;
  /** Runs on as fast as this CPU can (blocks, fusion, lazy flags) until an exception is raised, which it returns as `step`
   * does; undefined after `limit` instructions without one. */
  run(limit: number): CpuFault | undefined;
  gpr(): bigint[];
  rip(): bigint;
  rflags(): bigint;
  segment(name: SegmentName): { selector: number; base: bigint };
  /** Bytes at linear addresses; may be a view that the next `load` or `step` changes. */
  memory(at: number, length: number): Uint8Array;
}
