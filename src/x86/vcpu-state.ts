/** VcpuState: the registers of one x86 CPU as a plain value.
 *
 * Plans carry one (how the guest starts), reports print one (how it ended), tests compare them. 64-bit registers
 * are bigint here; the engine keeps them in WebAssembly memory (engine/state.ts) where nothing is allocated.
 * Follows: SDM Vol. 3, chapter 2 and 3.4.5 (segment descriptors).   Next: x86/constants.ts. */

export const GPR_NAMES = [
  'rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi',
  'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
] as const; // biome-ignore format: a table in the encoding's order
export type GprName = (typeof GPR_NAMES)[number];

export const SEGMENT_NAMES = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const; // the encoding's order
export type SegmentName = (typeof SEGMENT_NAMES)[number];

/** A segment register with its hidden part. */
export type Segment = {
  selector: number;
  /** Linear base address. */
  base: bigint;
  /** Last valid offset, in bytes (already scaled by G). */
  limit: number;
  /** Access rights as in descriptor bits 40-55: type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15. A null
   * (unusable) segment has attributes 0. */
  attributes: number;
};

export type DescriptorTable = { base: bigint; limit: number };

export type VcpuState = Record<GprName, bigint> & {
  rip: bigint;
  rflags: bigint;
  segments: Record<SegmentName, Segment>;
  ldtr: Segment;
  tr: Segment;
  gdtr: DescriptorTable;
  idtr: DescriptorTable;
  cr0: bigint;
  cr2: bigint;
  cr3: bigint;
  cr4: bigint;
  cr8: bigint;
  efer: bigint;
  dr: [bigint, bigint, bigint, bigint, bigint, bigint]; // DR0-3, DR6, DR7
  /** Model-specific registers that are not listed above, by name (MSR.STAR and so on, see x86/msr.ts). */
  msrs: Record<string, bigint>;
  cpl: number;
};

/** Flat 4 GiB and long-mode segments as every loader here uses them. */
export const flatCode32 = (selector: number, dpl = 0): Segment => ({
  selector, base: 0n, limit: 0xffff_ffff, attributes: 0xc09b | (dpl << 5),
}); // biome-ignore format: short
export const flatCode64 = (selector: number, dpl = 0): Segment => ({
  selector, base: 0n, limit: 0xffff_ffff, attributes: 0xa09b | (dpl << 5),
}); // biome-ignore format: short
export const flatData = (selector: number, dpl = 0): Segment => ({
  selector, base: 0n, limit: 0xffff_ffff, attributes: 0xc093 | (dpl << 5),
}); // biome-ignore format: short
export const nullSegment = (selector = 0): Segment => ({ selector, base: 0n, limit: 0, attributes: 0 });
