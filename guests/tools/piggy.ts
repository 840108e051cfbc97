/** Makes the payload of a bzImage and the assembly that carries it piggyback in the unpacker.
 *
 *   node --import tsx tools/piggy.ts KERNEL.elf PAYLOAD PIGGY.S
 *
 * PAYLOAD is the whole ELF file, symbol table included, as LZ4 legacy, then its size in four bytes. PIGGY.S includes it
 * and tells the linker script how much room the kernel needs.
 * Follows: Linux arch/x86/boot/compressed/mkpiggy.c.   Next: tiny/boot/unpacker.lds.S. */
import { readFileSync, writeFileSync } from 'node:fs';
import { lz4Legacy, pushU32 } from './lz4.ts';

const LOAD_PHYSICAL_ADDR = 0x1000000; // tiny/include/layout.h

const [kernelFile, payloadFile, assemblyFile] = process.argv.slice(2);
const kernel = readFileSync(kernelFile);

const trailer: number[] = [];
pushU32(trailer, kernel.length);
writeFileSync(payloadFile, Buffer.concat([lz4Legacy(kernel), Uint8Array.from(trailer)]));

writeFileSync(
  assemblyFile,
  `	.section .rodata.payload, "a"
	.globl	input_data, input_data_end, output_length, kernel_span
	input_data:
	.incbin	"payload"
	input_data_end:
	output_length = ${kernel.length}	/* of the unpacked ELF file */
	kernel_span = ${kernelSpan(kernel)}	/* of the loaded kernel, .bss included */
	.section .note.GNU-stack, "", @progbits
`,
);

/** From the kernel's physical start to the end of its last PT_LOAD. */
function kernelSpan(elf: Buffer): number {
  const is64 = elf[4] === 2;
  const phoff = is64 ? Number(elf.readBigUInt64LE(0x20)) : elf.readUInt32LE(0x1c);
  const [phentsize, phnum] = is64
    ? [elf.readUInt16LE(0x36), elf.readUInt16LE(0x38)]
    : [elf.readUInt16LE(0x2a), elf.readUInt16LE(0x2c)];
  let end = 0;
  for (let i = 0; i < phnum; i++) {
    const at = phoff + i * phentsize;
    if (elf.readUInt32LE(at) !== 1) continue; // PT_LOAD
    const paddr = is64 ? Number(elf.readBigUInt64LE(at + 0x18)) : elf.readUInt32LE(at + 0x0c);
    const memsz = is64 ? Number(elf.readBigUInt64LE(at + 0x28)) : elf.readUInt32LE(at + 0x14);
    end = Math.max(end, paddr + memsz);
  }
  return end - LOAD_PHYSICAL_ADDR;
}
