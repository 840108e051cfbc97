// How long the decoder takes for an instruction. Its input is the code of an ELF file, decoded from end to end as the
// engine would meet it for the first time.
//
//   node bench/decode.mjs [ELF file or bzImage]        the tiny guest without one

import { nodeUnpackers } from '../dist/cli/host.js';
import { Decoder } from '../dist/engine/decoder.js';
import { unpackKernel } from '../dist/image/unpack-kernel.js';
import { isElf, readKernel } from '../dist/index.js';
import { time } from './statistics.mjs';

const EXECUTABLE = 1;
const LOAD = 1;

const file = await readKernel(process.argv[2] ?? 'tiny', 'linux64');
const kernel = file.format === 'bzimage' ? unpackKernel(file, nodeUnpackers) : file;
if (!isElf(kernel)) throw new Error(`${kernel.name} is ${kernel.format}, and code is found in ELF files only`);
const code = kernel.segments
  .filter(({ type, flags }) => type === LOAD && flags & EXECUTABLE)
  .map(({ offset, filesz }) => kernel.bytes.subarray(Number(offset), Number(offset) + Number(filesz)));
const codeSize = kernel.format === 'elf64' ? 64 : 32;

const decoder = new Decoder(() => true);
let decoded = 0;
let undefinedOnes = 0;

function decodeAll() {
  decoded = 0;
  undefinedOnes = 0;
  for (const bytes of code) {
    for (let at = 0; at < bytes.length; ) {
      const result = decoder.decode(bytes, at, bytes.length, codeSize);
      if (result === 'ok') at += decoder.insn.length;
      else {
        undefinedOnes++; // data among the code
        at++;
      }
      decoded++;
    }
  }
}

const ns = time(decodeAll) / decoded;
const input = `${kernel.name}, ${decoded} instructions, ${undefinedOnes} of them undefined, Node ${process.version}`;
console.log(`decode: ${ns.toFixed(1)} ns per instruction, ${input}`);
