import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkWritable, writeFileWhole } from '../../src/cli/files.ts';
import { UsageError } from '../../src/cli/options.ts';
import { OutputError } from '../../src/cli/output.ts';

const folder = () => mkdtempSync(join(tmpdir(), 'zeropage-'));

describe('an output file', () => {
  it('is written, replaces an old one, and leaves nothing beside it', () => {
    const at = folder();
    const file = join(at, 'report.json');
    writeFileWhole(file, 'one');
    writeFileWhole(file, Uint8Array.of(0x74, 0x77, 0x6f));
    expect(readFileSync(file, 'utf8')).toBe('two');
    expect(readdirSync(at)).toEqual(['report.json']);
    expect(statSync(file).mode & 0o600).toBe(0o600);
  });

  it('is put together from pieces, text and bytes in their order', () => {
    const at = folder();
    const file = join(at, 'pieces');
    const long = 'é'.repeat(600_000);
    writeFileWhole(file, ['a', long, Uint8Array.of(0xff), 'b', long, 'c']);
    const [text, tail] = [Buffer.from(`a${long}`), Buffer.from(`b${long}c`)];
    expect(readFileSync(file).equals(Buffer.concat([text, Buffer.of(0xff), tail]))).toBe(true);
    const broken = function* () {
      yield 'half';
      throw new Error('no more');
    };
    expect(() => writeFileWhole(file, broken())).toThrow(/no more/);
    expect(readFileSync(file).length).toBe(text.length + 1 + tail.length);
    expect(readdirSync(at)).toEqual(['pieces']);
  });

  it('is written directly where there is no file to replace', () => {
    expect(() => writeFileWhole('/dev/null', 'x')).not.toThrow();
    expect(statSync('/dev/null').isFile()).toBe(false);
  });

  it('that cannot be written leaves the old one alone and says why', () => {
    const at = folder();
    const file = join(at, 'dir', 'report.json');
    expect(() => writeFileWhole(file, 'x')).toThrow(OutputError);
    mkdirSync(join(at, 'dir'));
    writeFileSync(file, 'old');
    expect(() => writeFileWhole(join(file, 'below'), 'x')).toThrow(/could not be written/);
    expect(readFileSync(file, 'utf8')).toBe('old');
  });

  it('is refused before the run in a folder that does not exist or may not be written', () => {
    const at = folder();
    expect(() => checkWritable(join(at, 'a', 'b'), '--report')).toThrow(UsageError);
    expect(() => checkWritable(at, '--report')).toThrow(/directory/);
    expect(() => checkWritable(join(at, 'new.json'), '--report')).not.toThrow();
    expect(existsSync(join(at, 'new.json'))).toBe(false);
    if (process.getuid?.() === 0) return; // root may write everywhere
    chmodSync(at, 0o500);
    expect(() => checkWritable(join(at, 'new.json'), '--report')).toThrow(UsageError);
  });
});
