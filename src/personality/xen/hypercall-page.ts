/** The hypercall page: 128 slots of 32 bytes, each a function that makes one hypercall.
 *
 * A guest that wants one names its place in an ELF note or by WRMSR; what it calls there is up to Xen. Ours holds what a
 * 64-bit guest of the real one finds: RCX and R11, which SYSCALL destroys, are kept on the stack. The slot of iret never
 * returns: it leaves on the stack just what the call wants to find there.
 * Follows: xen/arch/x86/pv/hypercall.c (hypercall_page_init).   Next: personality/xen/hypercalls.ts. */
import { mfn as machineFrame } from '../../memory/machine-frames.ts';
import type { Domain } from './domain.ts';

const SLOT = 32;
const IRET = 23;

export function hypercallPage(): Uint8Array {
  const page = new Uint8Array(4096).fill(0xcc);
  for (let number = 0; number < page.length / SLOT; number++) {
    const move = [0xb8, number & 0xff, 0, 0, 0]; // mov eax, number
    const code =
      number === IRET
        ? [0x51, 0x41, 0x53, 0x50, ...move, 0x0f, 0x05] // push rcx; push r11; push rax; ...; syscall
        : [0x51, 0x41, 0x53, ...move, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3]; // ...; pop r11; pop rcx; ret
    page.set(code, number * SLOT);
  }
  return page;
}

/** WRMSR 0x40000000: the page at a machine address, if it is the guest's and not in use as a table. The low bits would
 * number further pages; there are none. */
export function writeHypercallPage(domain: Domain, address: bigint): boolean {
  if ((address & 0xfffn) !== 0n || address >> 12n >= BigInt(domain.frames.nrPages)) return false;
  const frame = machineFrame(Number(address >> 12n));
  if (!domain.memory.mayWriteFrame(frame)) return false;
  domain.setMachineBytes(frame * 4096, hypercallPage());
  return true;
}
