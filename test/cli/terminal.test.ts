import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EscapeKeys } from '../../src/cli/interactive.ts';
import { createLogger } from '../../src/cli/logging.ts';
import { FdOutput, OutputError } from '../../src/cli/output.ts';
import { Progress } from '../../src/cli/progress.ts';
import { shell } from './run.ts';

const bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));

describe('keys of an interactive run', () => {
  const cases = [
    ['abc\x03', 'abc\x03', ''],
    ['ab\x1dcd', 'ab', 'quit'],
    ['\x01x', '', 'quit'],
    ['a\x01\x01b', 'a\x01b', ''],
    ['\x01c', '\x01c', ''],
    ['a\x01hb\x01?', 'ab', 'help'],
  ] as const;
  it.each(cases)('%j gives the guest %j, and us: %j', (typed, sent, ours) => {
    const expected = { bytes: bytes(sent), quit: ours === 'quit', help: ours === 'help' };
    expect(new EscapeKeys().take(bytes(typed))).toEqual(expected);
  });

  it('Ctrl-A counts across two reads', () => {
    const keys = new EscapeKeys();
    expect(keys.take(bytes('\x01'))).toEqual({ bytes: bytes(''), quit: false, help: false });
    expect(keys.take(bytes('x'))).toEqual({ bytes: bytes(''), quit: true, help: false });
  });
});

describe('progress', () => {
  const lines = (terminal: boolean, times: number[]) => {
    let now = 0;
    let text = '';
    const progress = new Progress(
      {
        write: (part: string) => {
          text += part;
        },
        closed: false,
      } as never,
      terminal,
      () => now,
    );
    for (now of times) progress.update((seconds) => `${seconds} s`);
    progress.clear();
    return text;
  };
  it('says nothing in the first second', () => expect(lines(true, [0, 500, 999])).toBe(''));
  it('rewrites one line of a terminal and takes it away', () => {
    expect(lines(true, [1000, 1100, 10_000])).toBe('\r1 s\r10 s\r    \r');
  });
  it('writes a line every ten seconds elsewhere', () => {
    expect(lines(false, [1000, 10_000, 15_000, 20_000])).toBe('10 s\n20 s\n');
  });
});

describe('the log', () => {
  const logged = (level: 'warn' | 'silent', pretty: boolean) => {
    const file = join(mkdtempSync(join(tmpdir(), 'zeropage-')), 'log');
    const to = openSync(file, 'w');
    const log = createLogger(level, { pretty, to });
    log.info({ a: 1 }, 'left out');
    log.warn({ kernel: 'k' }, 'an oddity');
    closeSync(to);
    return readFileSync(file, 'utf8');
  };
  it('is one JSON object to a line', () => {
    expect(JSON.parse(logged('warn', false))).toMatchObject({ level: 40, kernel: 'k', msg: 'an oddity' });
  });
  it('is made for eyes on a terminal', () => expect(logged('warn', true)).toMatch(/WARN.*an oddity[\s\S]*kernel/));
  it('can be silent', () => expect(logged('silent', false)).toBe(''));
});

describe('the console output', () => {
  it('tells once that its reader has gone, and goes on quietly', () => {
    const script = `
      import { FdOutput } from ${JSON.stringify(new URL('../../src/cli/output.ts', import.meta.url).href)};
      let told = 0;
      const output = new FdOutput(1, () => told++);
      while (!output.closed) output.write('x'.repeat(100) + '\\n');
      output.write('more');
      process.stderr.write('told ' + told);
    `;
    const command = `"${process.execPath}" --import tsx --input-type=module -e "$SCRIPT" | head -n 1`;
    const run = spawnSync('sh', ['-c', command], { encoding: 'utf8', env: { ...process.env, SCRIPT: script } });
    expect(run.stdout).toBe(`${'x'.repeat(100)}\n`);
    expect(run.stderr).toBe('told 1');
  });

  it('waits for a slow reader of a pipe that does not block', () => {
    const script = `
      import { FdOutput } from ${JSON.stringify(new URL('../../src/cli/output.ts', import.meta.url).href)};
      void process.stdout._handle?.setBlocking?.(false);
      new FdOutput(1).write('y'.repeat(1_000_000));
    `;
    const command = `"${process.execPath}" --import tsx --input-type=module -e "$SCRIPT" | (sleep 0.3; wc -c)`;
    const run = spawnSync('sh', ['-c', command], { encoding: 'utf8', env: { ...process.env, SCRIPT: script } });
    expect(run.stderr).toBe('');
    expect(run.stdout.trim()).toBe('1000000');
  });

  it('explains a disk that is full', () => {
    if (!existsSync('/dev/full')) return;
    const to = openSync('/dev/full', 'w');
    expect(() => new FdOutput(to).write('x')).toThrow(OutputError);
    expect(() => new FdOutput(to).write('x')).toThrow(/no space left/);
    closeSync(to);
  });

  it('lets a run end as it does when standard error takes nothing', async () => {
    if (!existsSync('/dev/full')) return;
    const [well, badly] = await Promise.all([
      shell('$ZEROPAGE boot 2> /dev/full'),
      shell('$ZEROPAGE boot no-such-file 2> /dev/full'),
    ]);
    expect(well).toMatchObject({ code: 0, stdout: expect.stringContaining('verdict: success') });
    expect(badly.code).toBe(3);
  });

  it('writes text as UTF-8', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'zeropage-')), 'out');
    const to = openSync(file, 'w');
    new FdOutput(to).write('ü');
    closeSync(to);
    expect([...readFileSync(file)]).toEqual([0xc3, 0xbc]);
  });
});
