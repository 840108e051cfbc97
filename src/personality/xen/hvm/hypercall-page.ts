/** The hypercall page of a PVH guest: 128 slots of 32 bytes, each a function that makes one hypercall by VMMCALL.
 *
 * Follows: xen/arch/x86/hvm/svm/svm.c (svm_init_hypercall_page).   Next: personality/xen/hvm/hypercalls.ts. */

const SLOT = 32;
const IRET = 23;

export function hvmHypercallPage(): Uint8Array {
  const page = new Uint8Array(4096).fill(0xcc);
  for (let number = 0; number < page.length / SLOT; number++) {
    // mov eax, number; vmmcall; ret. There is no iret for this kind of guest: ud2.
    const code = number === IRET ? [0x0f, 0x0b] : [0xb8, number, 0, 0, 0, 0x0f, 0x01, 0xd9, 0xc3];
    page.set(code, number * SLOT);
  }
  return page;
}
