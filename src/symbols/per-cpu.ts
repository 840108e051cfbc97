/** Per-CPU variables: a symbol's value and the CPU's base make the address.
 *
 * The kernel links one copy of its per-CPU data and gives every CPU another, `__per_cpu_offset[cpu]` away. On x86-64 that
 * same number is the CPU's GS base (on 32-bit x86, the base of FS), so with a CPU's registers at hand no memory has to be
 * read:
 *
 *     address = symbol + GS base = symbol + __per_cpu_offset[cpu]
 *
 * Up to Linux 6.14 the linked copy of x86-64 is at address 0 with SMP, so that symbols are small offsets (kallsyms writes
 * them with the letter A); from 6.15 on they are ordinary addresses and the base is the distance from there. The sum is
 * the same. Before setup_per_cpu_areas() the only CPU uses the linked copy itself: the GS base then is where that copy
 * lies (`__per_cpu_load`, moved as the kernel is), which the rule covers too. In user mode, or before the first
 * `wrmsr` of MSR_GS_BASE and between entry and `swapgs`, GS is not the kernel's and the rule does not hold.
 * Follows: Linux include/linux/percpu-defs.h, arch/x86/include/asm/percpu.h, arch/x86/kernel/setup_percpu.c.
 * Next: symbols/btf.ts. */

/** Where a CPU has its copy of a variable. Both are as registers and symbol tables hold them: 64 bits, which may wrap. */
export function perCpuAddress(symbol: bigint, base: bigint): bigint {
  return BigInt.asUintN(64, symbol + base);
}
