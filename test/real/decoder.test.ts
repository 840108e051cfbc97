/** The decoder against iced-x86 on all executable sections of Debian's kernel, its 16-bit setup, and GRUB's 32-bit image:
 * the same length and the same mnemonic.
 * The sweep goes by iced's lengths, so that one disagreement is counted once. */
import { expect, it } from 'vitest';
import { nodeUnpackers } from '../../src/cli/host.ts';
import { isElf } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { unpackKernel } from '../../src/image/unpack-kernel.ts';
import { type CodeSize, type Difference, Oracle } from '../engine/decoder-oracle.ts';
import { describeReal, haveReal, readReal } from './files.ts';

const SHF_EXECINSTR = 4n;
const PT_LOAD = 1;
const PF_X = 1;

type Part = { name: string; code: Uint8Array };

function sections(file: string): Part[] {
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

function sweep(parts: readonly Part[], size: CodeSize): Sweep {
  const total: Sweep = { instructions: 0, padding: 0, vector: 0, differences: [] };
  for (const { name, code } of parts) {
    const oracle = new Oracle(size, code);
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

/** Prints what was found and fails when more than one in ten thousand differs. */
function judge(title: string, { instructions, padding, vector, differences }: Sweep, least: number): void {
  const share = 100 * (1 - differences.length / instructions);
  const list = differences
    .slice(0, 100)
    .map((d) => `  ${d.section}+0x${d.at.toString(16)} ${d.bytes}: iced ${d.iced}, ours ${d.ours}`);
  const summary = `${instructions} instructions (and ${padding} of filler), ${share.toFixed(4)} % equal, ${differences.length} different; VEX and EVEX apart: ${vector}`;
  console.log([`${title}: ${summary}`, ...list].join('\n'));
  expect(instructions).toBeGreaterThan(least);
  expect(share, list.join('\n')).toBeGreaterThanOrEqual(99.99);
}

describeReal(kernel, () => {
  it('is decoded as iced-x86 decodes it, but for one in ten thousand instructions', () => {
    judge(kernel, sweep(sections(kernel), 64), 1_000_000);
  }, 60_000);

  it('has a real-mode setup that is decoded as iced-x86 decodes it, strings and all', () => {
    const file = readReal(kernel);
    const code = file.subarray(0x26c, (file[0x1f1] + 1) * 512); // from behind the header to setup_sects' end
    judge(`setup of ${kernel}`, sweep([{ name: 'setup', code }], 16), 4000);
  });
});

const grub = 'grub-i386-xen_pvh.bin';
describeReal(grub, () => {
  it('is 32-bit code that is decoded as iced-x86 decodes it, modules and data in the same segment too', () => {
    const image = parseKernel(grub, readReal(grub));
    if (!isElf(image)) throw new Error(`${grub} is no ELF`);
    const parts = image.segments
      .filter(({ type, flags }) => type === PT_LOAD && (flags & PF_X) !== 0)
      .map(({ offset, filesz }, i) => ({
        name: `segment ${i}`,
        code: readReal(grub).subarray(offset, offset + filesz),
      }));
    judge(grub, sweep(parts, 32), 400_000);
  });
});
