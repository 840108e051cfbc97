/** Hand-written guests for lguest: a few instructions in ring 1, put together here, run through the whole machine.
 *
 * Each runs twice, once in blocks and once one instruction at a time, and both must come to the same end to the bit.
 * 2 MiB and 64 KiB of memory: code at 1 MiB, the shared page, a place for strings, a stack, and identity page tables.
 * Next: test/personality/lguest/calls.test.ts. */
import { expect } from 'vitest';
import { planBoot } from '../../../src/boot/index.ts';
import { LguestData, type LguestDataValues } from '../../../src/layout/lguest-data.ts';
import type { ExitReason } from '../../../src/machine/exit-reason.ts';
import { Machine } from '../../../src/machine/machine.ts';
import type { VcpuState } from '../../../src/x86/vcpu-state.ts';
import { elf } from '../../boot/files.ts';

export const MEMORY = 0x21_0000;
export const CODE = 0x10_0000;
export const HANDLER = 0x10_8000;
export const USER = 0x10_c000;
export const DATA = 0x11_0000;
export const TEXT = 0x12_0000;
export const STACK = 0x13_0000;
export const KERNEL_STACK = 0x13_8000;
export const DIRECTORY = 0x14_0000;
export const TABLE = 0x14_1000;
/** Where guests note what they saw. */
export const NOTES = 0x15_0000;

export const R = { eax: 0, ecx: 1, edx: 2, ebx: 3, esp: 4, ebp: 5, esi: 6, edi: 7 } as const;

export const le32 = (value: number): number[] => [value, value >>> 8, value >>> 16, value >>> 24].map((b) => b & 0xff);
export const mov = (register: number, value: number): number[] => [0xb8 + register, ...le32(value)];
/** Stores a constant, or EAX, at an address. */
export const store = (address: number, value: number): number[] => [0xc7, 0x05, ...le32(address), ...le32(value)];
export const storeEax = (address: number): number[] => [0xa3, ...le32(address)];
export const loadEax = (address: number): number[] => [0xa1, ...le32(address)];
export const INT_1F = [0xcd, 0x1f];
/** A hypercall by number, with up to four arguments. */
export const call = (number: number, a1 = 0, a2 = 0, a3 = 0, a4 = 0): number[] => [
  ...mov(R.eax, number), ...mov(R.ebx, a1), ...mov(R.ecx, a2), ...mov(R.edx, a3), ...mov(R.esi, a4), ...INT_1F,
]; // biome-ignore format: one line
export const init = (): number[] => call(1, DATA);
/** LOAD_IDT_ENTRY: an interrupt (0xe) or trap gate (0xf). */
export const gate = (vector: number, handler: number, type = 0xe, dpl = 0): number[] =>
  call(6, vector, (0x61 << 16) | (handler & 0xffff), (handler & 0xffff_0000) | 0x8000 | (dpl << 13) | (type << 8));
export const NOP = 0x90;
export const UD2 = [0x0f, 0x0b];
export const HLT_LOOP = [0xeb, 0xfe]; // jmp $
/** The regular end: SHUTDOWN with Linux's own words. */
export const powerOff = (): number[] => call(2, TEXT, 1);
/** `count` dwords from the stack to NOTES, without disturbing it; then the end. DS and ES may be a user program's. */
export const noteFrame = (count: number): number[] => [
  0x8c, 0xd0, 0x8e, 0xd8, 0x8e, 0xc0, // mov eax, ss; mov ds, eax; mov es, eax
  ...mov(R.edi, NOTES), 0x89, 0xe6, ...mov(R.ecx, count), 0xfc, 0xf3, 0xa5, ...powerOff(), // mov esi, esp; cld; rep movsd
]; // biome-ignore format: one line

export type GuestSpec = {
  /** At CODE; entered in ring 1. */
  code: number[];
  /** More code or data. */
  at?: Record<number, number[] | Uint8Array>;
  /** Fields of lguest_data, beside those that every guest sets. */
  data?: Partial<
    Pick<LguestDataValues, 'irq_enabled' | 'blocked_interrupts' | 'noirq_iret' | 'kernel_address' | 'syscall_vec'>
  >;
  state?: Partial<VcpuState>;
  maxInstructions?: number;
};

/** Page tables that map the guest's memory to itself, for everybody; the entry of each page may be changed. */
export function identity(change: Record<number, number> = {}): Record<number, Uint8Array> {
  const directory = new DataView(new ArrayBuffer(4096));
  const table = new DataView(new ArrayBuffer(4096));
  directory.setUint32(0, TABLE | 7, true);
  for (let page = 0; page < 1024; page++) if (page * 4096 < MEMORY) table.setUint32(4 * page, (page * 4096) | 7, true);
  for (const [page, entry] of Object.entries(change)) table.setUint32(4 * (Number(page) / 4096), entry, true);
  return { [DIRECTORY]: new Uint8Array(directory.buffer), [TABLE]: new Uint8Array(table.buffer) };
}

async function machineOf({ code, at = {}, data = {}, state }: GuestSpec, plain: boolean): Promise<Machine> {
  const kernel = elf({ bits: 32, entry: CODE, segments: [{ paddr: CODE, bytes: Uint8Array.from(code) }] });
  const machine = await Machine.create(planBoot(kernel, { via: 'lguest', memory: MEMORY }), { plain });
  const place = (address: number, bytes: ArrayLike<number>) => machine.memory.bytes(address, bytes.length).set(bytes);
  place(TEXT, new TextEncoder().encode('Power down\0'));
  LguestData.write(machine.memory.bytes(DATA, LguestData.size), 0, {
    hcall_status: new Array(64).fill(0xff), blocked_interrupts: 0, kernel_address: 0xc000_0000, syscall_vec: 0x80, ...data,
  }); // biome-ignore format: a table
  for (const [address, bytes] of Object.entries(at)) place(Number(address), bytes);
  machine.vcpu.setState({ rsp: BigInt(STACK), ...state });
  return machine;
}

export type GuestRun = {
  exit: ExitReason;
  console: string;
  machine: Machine;
  missing: readonly string[];
  data: LguestDataValues;
  /** Dwords at NOTES. */
  notes: (count: number) => number[];
};

export async function run(spec: GuestSpec): Promise<GuestRun> {
  const limits = { maxInstructions: spec.maxInstructions ?? 20_000 };
  const machine = await machineOf(spec, false);
  const exit = machine.runSync(limits);
  const alone = await machineOf(spec, true);
  expect(alone.runSync(limits)).toEqual(exit);
  const outcome = machine.outcome();
  expect(alone.outcome()).toEqual(outcome);
  return {
    exit,
    console: outcome.console,
    machine,
    missing: outcome.missing,
    data: LguestData.read(machine.memory, DATA),
    notes: (count) => Array.from({ length: count }, (_, i) => machine.memory.readU32(NOTES + 4 * i)),
  };
}

/** What the guest was killed for. */
export async function killedFor(spec: GuestSpec): Promise<string> {
  const { exit } = await run(spec);
  expect(exit).toMatchObject({ kind: 'killed', code: 4 });
  return exit.detail;
}
