/** The decoder against iced-x86 on all executable sections of Debian's kernels: the same length and the same mnemonic.
 * The sweep goes by iced's lengths, so that one disagreement is counted once. */
import { expect, it } from 'vitest';
import { nodeUnpackers } from '../../src/cli/host.ts';
import { isElf } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { unpackKernel } from '../../src/image/unpack-kernel.ts';
import { type Difference, Oracle } from '../engine/decoder-oracle.ts';
import { describeReal, haveReal, readReal } from './files.ts';

const SHF_EXECINSTR = 4n;

function sections(file: string): { name: string; code: Uint8Array }[] {
  const image = parseKernel(file, readReal(file));
  if (image.format !== 'bzimage') throw new Error(`${file} is no bzImage`);
  const elf = unpackKernel(image, nodeUnpackers);
  if (!isElf(elf)) throw new Error(`${file} holds no ELF`);
  return elf.sections
    .filter(({ flags }) => (flags & SHF_EXECINSTR) !== 0n)
    .map(({ name, offset, size }) => ({ name, code: elf.bytes.subarray(offset, offset + size) }));
}

type Sweep = {
  instructions: number;
  padding: number;
  vector: number;
  differences: (Difference & { section: string })[];
};

function sweep(file: string): Sweep {
  const total: Sweep = { instructions: 0, padding: 0, vector: 0, differences: [] };
  for (const { name, code } of sections(file)) {
    const oracle = new Oracle(64, code);
    for (let at = 0; at < code.length; at += oracle.length) {
      const verdict = oracle.next(at);
      if (oracle.length === 0) break;
      // Filler between functions would make the share of what agrees look better than it is.
      if (code[at] === 0xcc || (code[at] === 0 && code[at + 1] === 0)) total.padding++;
      else if (verdict === 'vector') total.vector++;
      else total.instructions++;
      if (verdict === 'different') total.differences.push({ ...oracle.difference(at), section: name });
    }
    oracle.free();
  }
  return total;
}

// The cloud kernel's text is the smaller one and unpacks ten times sooner; what differs is drivers.
const kernel = ['vmlinuz-cloud-amd64', 'vmlinuz-amd64'].find(haveReal) ?? 'vmlinuz-cloud-amd64';

describeReal(kernel, () => {
  it('is decoded as iced-x86 decodes it, but for one in ten thousand instructions', () => {
    const { instructions, padding, vector, differences } = sweep(kernel);
    const share = 100 * (1 - differences.length / instructions);
    const list = differences
      .slice(0, 100)
      .map((d) => `  ${d.section}+0x${d.at.toString(16)} ${d.bytes}: iced ${d.iced}, ours ${d.ours}`);
    console.log(
      [
        `${kernel}: ${instructions} instructions (and ${padding} of filler), ${share.toFixed(4)} % equal; VEX and EVEX apart: ${vector}`,
        ...list,
      ].join('\n'),
    );
    expect(instructions).toBeGreaterThan(1_000_000);
    expect(share, list.join('\n')).toBeGreaterThanOrEqual(99.99);
  }, 60_000);
});
