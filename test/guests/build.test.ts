/** The committed images are what the sources build, byte for byte. Skipped, with the reason, without the compiler that
 * makes these bytes. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { IMAGES } from './golden.ts';

const version = (tool: string, argument: string) => spawnSync(tool, [argument], { encoding: 'utf8' }).stdout ?? '';

/** What is missing for a rebuild, or undefined. */
function obstacle(): string | undefined {
  const gcc = version('gcc', '-dumpfullversion').trim();
  const ld = /(\d+\.\d+)/.exec(version('ld', '--version').split('\n')[0])?.[1];
  if (!gcc || !ld) return 'gcc or binutils are not installed';
  if (!version('make', '--version')) return 'make is not installed';
  if (!gcc.startsWith('12.2.') || ld !== '2.40')
    return `gcc ${gcc} and binutils ${ld} make other bytes than 12.2 and 2.40`;
  return undefined;
}

const reason = obstacle();
if (reason) console.log(`skipped: the guests are not rebuilt: ${reason}`);

describe.skipIf(reason !== undefined)('a rebuild of the guests', () => {
  it('gives the committed images byte for byte, in any folder', { timeout: 120_000 }, () => {
    const folder = mkdtempSync(join(tmpdir(), 'zeropage-guests-'));
    try {
      const make = spawnSync('make', ['-s', '-j2', '-C', fileURLToPath(new URL('..', IMAGES)), `OUT=${folder}`], {
        encoding: 'utf8',
      });
      expect(make.stderr).toBe('');
      expect(make.status).toBe(0);
      const names = readdirSync(join(folder, 'images')).sort();
      expect(names).toEqual(readdirSync(IMAGES).sort());
      for (const name of names) {
        const same = readFileSync(join(folder, 'images', name)).equals(readFileSync(new URL(name, IMAGES)));
        expect(same, `${name} is rebuilt byte for byte`).toBe(true);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
