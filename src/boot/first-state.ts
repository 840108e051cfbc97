/** The first registers, and the two tables they rest on: a descriptor table and, in long mode, page tables.
 *
 * Every bare path starts on the same GDT at 0x500: 0x10 flat code, 0x18 flat data, 0x20 a TSS at 0 that nobody uses
 * before loading one of their own. What no contract names is zero, so that a guest which relies on it fails here too.
 * Follows: Linux Documentation/x86/boot.rst (32-bit and 64-bit boot protocol), Xen docs/misc/pvh.pandoc,
 * SDM Vol. 3, 3.4.5 (descriptors) and 10.1.1 (values after reset).
 * May not: decide what is loaded.   Next: boot/placement.ts. */
import { hex } from '../base/numbers.ts';
import { gpa } from '../memory/address.ts';
import { LOW_MEMORY } from '../memory/map.ts';
import { identityMap4GiB } from '../memory/page-table-builder.ts';
import { CR0, CR4, DR6_FIXED, DR7_FIXED, EFER, RFLAGS, SEGMENT, SYSTEM_TYPE } from '../x86/constants.ts';
import {
  flatCode32,
  flatCode64,
  flatData,
  GPR_NAMES,
  type GprName,
  nullSegment,
  type Segment,
  type VcpuState,
} from '../x86/vcpu-state.ts';
import type { PlanWrite } from './plan.ts';

/** Selectors of the GDT, as the Linux boot protocol asks for code and data. */
export const BOOT_CS = 0x10;
export const BOOT_DS = 0x18;
export const BOOT_TR = 0x20;

/** A busy 32-bit (or 64-bit) TSS of the least size, as libxc and Firecracker hand it over. */
const tss: Segment = { selector: BOOT_TR, base: 0n, limit: 0x67, attributes: SEGMENT.P | SYSTEM_TYPE.TSS_BUSY };

export type FirstRegisters = Partial<Record<GprName, bigint>> & {
  rip: bigint;
  cr0: number;
  cr4?: number;
  efer?: number;
};

/** Protected mode, paging off. */
export function protectedModeState(registers: FirstRegisters): VcpuState {
  return firstState(flatCode32(BOOT_CS), 5 * 8, registers);
}

/** Long mode on the identity map; CR3 points to the tables that `longModeWrites` makes. */
export function longModeState(registers: FirstRegisters): VcpuState {
  return { ...firstState(flatCode64(BOOT_CS), 6 * 8, registers), cr3: BigInt(LOW_MEMORY.pageTables.at) };
}

/** Least control registers of long mode; NE, MP and the like are the guest's to set. */
export const LONG_MODE = {
  cr0: CR0.PE + CR0.ET + CR0.PG, // a sum: bit 31 would turn `|` negative
  cr4: CR4.PAE,
  efer: EFER.LME | EFER.LMA,
} as const;

export function protectedModeWrites(): PlanWrite[] {
  return [gdtWrite([flatCode32(BOOT_CS), flatData(BOOT_DS), tss])];
}

export function longModeWrites(): PlanWrite[] {
  const { at } = LOW_MEMORY.pageTables;
  const bytes = identityMap4GiB(at);
  const purpose = `identity map of the low 4 GiB, CR3 = ${hex(at)}`;
  return [
    // A TSS descriptor has 16 bytes in long mode; the second half, the base above 4 GiB, is zero.
    gdtWrite([flatCode64(BOOT_CS), flatData(BOOT_DS), tss, nullSegment()]),
    { what: 'page tables', at, bytes, length: bytes.length, purpose, from: 'made here' },
  ];
}

function firstState(code: Segment, gdtSize: number, { cr0, cr4 = 0, efer = 0, ...given }: FirstRegisters): VcpuState {
  const registers = Object.fromEntries(GPR_NAMES.map((name) => [name, 0n])) as Record<GprName, bigint>;
  const data = flatData(BOOT_DS);
  return {
    ...registers,
    ...given,
    rflags: BigInt(RFLAGS.ONE),
    segments: { es: data, cs: code, ss: data, ds: data, fs: data, gs: data },
    ldtr: nullSegment(),
    tr: tss,
    gdtr: { base: BigInt(LOW_MEMORY.gdt.at), limit: gdtSize - 1 },
    idtr: { base: 0n, limit: 0 },
    cr0: BigInt(cr0),
    cr2: 0n,
    cr3: 0n,
    cr4: BigInt(cr4),
    cr8: 0n,
    efer: BigInt(efer),
    dr: [0n, 0n, 0n, 0n, BigInt(DR6_FIXED), BigInt(DR7_FIXED)],
    msrs: {},
    cpl: 0,
  };
}

/** Descriptors from selector 0x10 on; 0 and 0x08 stay null. */
function gdtWrite(segments: Segment[]): PlanWrite {
  const bytes = new Uint8Array((segments.length + 2) * 8);
  const view = new DataView(bytes.buffer);
  segments.forEach((segment, i) => {
    view.setBigUint64((i + 2) * 8, descriptor(segment), true);
  });
  const purpose = `GDT: ${hex(BOOT_CS)} code, ${hex(BOOT_DS)} data, ${hex(BOOT_TR)} TSS`;
  return { what: 'GDT', at: gpa(LOW_MEMORY.gdt.at), bytes, length: bytes.length, purpose, from: 'made here' };
}

/** The eight bytes of a descriptor whose hidden part this is (SDM Vol. 3, figure 3-8). */
export function descriptor({ base, limit, attributes }: Segment): bigint {
  const raw = BigInt(attributes & SEGMENT.G ? Math.floor(limit / 0x1000) : limit);
  return (
    (raw & 0xffffn) |
    ((base & 0xff_ffffn) << 16n) |
    (BigInt(attributes & 0xf0ff) << 40n) |
    (((raw >> 16n) & 0xfn) << 48n) |
    (((base >> 24n) & 0xffn) << 56n)
  );
}
