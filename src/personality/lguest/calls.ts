/** The hypercalls of lguest's late ABI: number, name, what it does.
 *
 * EAX has the number, EBX, ECX, EDX and ESI up to four arguments; EAX comes back as it went. Addresses are physical
 * where not said otherwise. lguest filled shadow tables from the guest's; here the CPU walks the guest's own, so a call
 * about page tables only checks what lguest would have refused and drops what the CPU has cached.
 * A call that only older or PAE kernels make is in the table with its reason: it kills the guest, as every number that
 * the host does not know did.
 * Follows: Linux arch/x86/include/asm/lguest_hcall.h, drivers/lguest/hypercalls.c and page_tables.c (4.1).
 * One step back: NOTIFY prints a string, as launchers did before PCI consoles.   Next: personality/lguest/lguest.ts. */
import { hex } from '../../base/numbers.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { LGUEST_HOST } from '../../memory/map.ts';
import { CR0, PTE } from '../../x86/constants.ts';
import type { GuestEnd, PersonalityCpu } from '../personality.ts';
import { type GuestGdt, HOST_DIRECTORY_ENTRY, TLS_ENTRIES } from './gdt.ts';
import { GUEST_RING, guestBytes, kill, touchStack } from './host.ts';
import type { GuestIdt } from './idt.ts';
import type { VirtualInterrupts } from './interrupts.ts';
import type { KernelStack } from './traps.ts';

/** What the calls act on. */
export type CallTarget = {
  cpu: PersonalityCpu;
  memory: GuestMemory;
  gdt: GuestGdt;
  idt: GuestIdt;
  interrupts: VirtualInterrupts;
  stack: KernelStack;
  console: (byte: number) => void;
  end: (end: GuestEnd) => void;
};

/** Unsigned 32-bit words. */
export type CallArguments = readonly [a1: number, a2: number, a3: number, a4: number];

export type Call = { number: number; name: string } & (
  | { run: (target: CallTarget, args: CallArguments) => void }
  | { refused: string }
);

export const LHCALL_LGUEST_INIT = 1;
export const CALLS: readonly Call[] = [
  { number: 0, name: 'FLUSH_ASYNC', run: nothing },
  { number: LHCALL_LGUEST_INIT, name: 'LGUEST_INIT', run: () => kill('it calls LGUEST_INIT a second time') },
  { number: 2, name: 'SHUTDOWN', run: shutdown },
  { number: 3, name: 'LOAD_GDT', refused: 'LOAD_GDT_ENTRY has taken its place' },
  { number: 4, name: 'NEW_PGTABLE', run: newPageTable },
  { number: 5, name: 'FLUSH_TLB', run: ({ cpu }) => cpu.flushTlb() }, // user mappings only, or all: all are dropped
  { number: 6, name: 'LOAD_IDT_ENTRY', run: ({ idt }, [vector, low, high]) => idt.load(vector, low, high) },
  { number: 7, name: 'SET_STACK', run: setStack },
  { number: 8, name: 'TS', run: taskSwitched },
  { number: 9, name: 'SET_CLOCKEVENT', run: ({ interrupts }, [delta]) => interrupts.setClock(delta) },
  { number: 10, name: 'HALT', run: ({ interrupts }) => interrupts.halt() },
  { number: 11, name: 'GET_WALLCLOCK', refused: 'lguest_data.time has taken its place' },
  { number: 12, name: 'BIND_DMA', refused: 'devices have been virtio since 2.6.24' },
  { number: 13, name: 'SET_PMD', refused: 'only PAE kernels have a third level, and PAE is not built' },
  { number: 14, name: 'SET_PTE', run: setPte },
  { number: 15, name: 'SET_PGD', run: setPgd },
  { number: 16, name: 'LOAD_TLS', run: loadTls },
  { number: 17, name: 'NOTIFY', run: notify },
  { number: 18, name: 'LOAD_GDT_ENTRY', run: ({ gdt }, [index, low, high]) => gdt.load(index, low, high) },
  { number: 19, name: 'SEND_INTERRUPTS', run: nothing }, // to be in the host's hands is what it is for
];

/** Bytes of SHUTDOWN's message, its NUL included. */
const MESSAGE_BYTES = 128;
const LGUEST_SHUTDOWN_RESTART = 2;
/** The message of a Linux guest's power-off; every other one but a restart's is a panic's. */
const POWER_DOWN = 'Power down';
/** Most that one NOTIFY prints, so that a string without an end is no flood. */
const NOTIFY_BYTES = 4096;
const DIRECTORY_ENTRIES = 1024;
const PAGE = 4096;
/** P, RW, US, A, D: what an entry of a page directory may have below its address (no PS: no large pages). */
const DIRECTORY_FLAGS = 0x067;

function nothing(): void {}

/** a1: the message; a2: 1 power off, 2 restart. lguest's guest dies either way, and the launcher prints the message. */
function shutdown({ memory, end }: CallTarget, [message, reason]: CallArguments): void {
  const bytes = guestBytes(memory, message, MESSAGE_BYTES, 'its last message');
  const words = text(bytes.subarray(0, MESSAGE_BYTES - 1));
  const how = reason === LGUEST_SHUTDOWN_RESTART ? 'reboot' : words === POWER_DOWN ? 'poweroff' : 'crash';
  end({ kind: 'shutdown', how, words });
}

/** a1: the page directory. From the first one on there is paging. */
function newPageTable({ cpu, memory }: CallTarget, [directory]: CallArguments): void {
  if (directory % PAGE !== 0) kill(`its page directory ${hex(directory)} is not a whole page`);
  guestBytes(memory, directory, PAGE, 'its page directory');
  for (let i = 0; i < DIRECTORY_ENTRIES - 1; i++) checkDirectoryEntry(memory, memory.readU32(directory + 4 * i), i);
  const { state } = cpu;
  state.set64('CR3', BigInt(directory));
  state.set64('CR0', state.get64('CR0') | BigInt(CR0.PG >>> 0));
  keepHostMapped({ cpu, memory });
  cpu.flushTlb();
  cpu.modeChanged();
}

/** The top of every page directory is the host's. A guest that clears it gets it back, as lguest's shadow tables would
 * have kept it; one that maps something of its own there dies. */
export function keepHostMapped({ cpu, memory }: Pick<CallTarget, 'cpu' | 'memory'>): void {
  const { state } = cpu;
  if ((state.get64('CR0') & BigInt(CR0.PG >>> 0)) === 0n) return;
  const slot = Number(state.get64('CR3') & 0xffff_f000n) + 4 * (DIRECTORY_ENTRIES - 1);
  const entry = memory.readU32(slot);
  if (entry === HOST_DIRECTORY_ENTRY) return;
  if ((entry & PTE.P) !== 0)
    kill(`it maps its own pages at ${hex(LGUEST_HOST.at)}, where reserve_mem says that the host is`);
  memory.writeU32(slot, HOST_DIRECTORY_ENTRY);
  cpu.flushTlb();
}

function checkDirectoryEntry(memory: GuestMemory, entry: number, index: number): void {
  if ((entry & PTE.P) === 0) return;
  const beyond = (entry & ~0xfff) >>> 0 >= memory.size;
  if (beyond || (entry & 0xfff & ~DIRECTORY_FLAGS) !== 0)
    kill(`bad page directory entry ${index}: ${hex(entry)} ${beyond ? 'points outside its memory' : 'has flags that no directory entry has'}`); // biome-ignore format: one line
}

/** a1: the page directory, a2: the address (virtual), a3: the entry, which the guest has written already. */
function setPte({ cpu, memory }: CallTarget, [, address, entry]: CallArguments): void {
  if ((entry & PTE.P) !== 0 && (entry & ~0xfff) >>> 0 >= memory.size)
    kill(`bad page table entry for ${hex(address)}: ${hex(entry)} points outside its memory`);
  cpu.flushTlbPage(BigInt(address));
}

/** a1: the page directory, a2: the index of the entry, which the guest has written already. */
function setPgd(target: CallTarget, [directory, index]: CallArguments): void {
  if (index >= DIRECTORY_ENTRIES) kill(`it sets page directory entry ${index}, and there are ${DIRECTORY_ENTRIES}`);
  const bytes = guestBytes(target.memory, directory, PAGE, 'its page directory');
  const entry = new DataView(bytes.buffer, bytes.byteOffset, PAGE).getUint32(4 * index, true);
  if (index < DIRECTORY_ENTRIES - 1) checkDirectoryEntry(target.memory, entry, index);
  target.cpu.flushTlb();
}

/** a1: selector of ring 1, a2: ESP (virtual), a3: pages that must be there, at most 2. */
function setStack({ cpu, stack }: CallTarget, [ss, esp, pages]: CallArguments): void {
  if ((ss & 3) !== GUEST_RING) kill(`bad stack segment ${hex(ss)}: it is not of ring ${GUEST_RING}`);
  if (pages > 2) kill(`bad stack: ${pages} pages, and 2 are the most`);
  for (let i = 0; i < pages; i++) {
    const at = (esp - 1 - i * PAGE) >>> 0;
    touchStack(at, () => cpu.probeLinear(BigInt(at), 1, 1, true));
  }
  stack.ss = ss & 0xffff;
  stack.esp = esp;
}

/** a1: whether the next floating-point instruction traps. */
function taskSwitched({ cpu }: CallTarget, [on]: CallArguments): void {
  const { state } = cpu;
  const cr0 = state.get64('CR0') & ~BigInt(CR0.TS);
  state.set64('CR0', on ? cr0 | BigInt(CR0.TS) : cr0);
  cpu.modeChanged();
}

/** a1: three descriptors, a2: the CPU they are for. */
function loadTls({ memory, gdt }: CallTarget, [descriptors]: CallArguments): void {
  gdt.loadTls(guestBytes(memory, descriptors, 8 * TLS_ENTRIES, 'its TLS descriptors'));
}

/** a1: a NUL-ended string in memory. */
function notify({ memory, console }: CallTarget, [address]: CallArguments): void {
  guestBytes(memory, address, 1, 'the string that it notifies of');
  const bytes = memory.bytes(address, Math.min(NOTIFY_BYTES, memory.size - address));
  for (const byte of bytes) {
    if (byte === 0) return;
    console(byte);
  }
}

/** Bytes up to the first NUL, one character each. */
function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return String.fromCharCode(...(end < 0 ? bytes : bytes.subarray(0, end)));
}
