import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { VmError } from '../../src/base/errors.ts';
import { type BootOptions, bootSettings } from '../../src/cli/boot-settings.ts';

const defaults: BootOptions = { via: 'auto', lastBlocks: '16', engine: 'auto', logLevel: 'warn' };
const settings = (options: Partial<BootOptions> = {}) => bootSettings({ ...defaults, ...options });

describe('options of boot', () => {
  it('stand for 256 MiB and nothing else when none is given', () => {
    expect(settings()).toMatchObject({ memorySize: 256 << 20, script: [], lastBlocks: 16 });
    expect(settings().timeoutSeconds).toBeUndefined();
  });

  it('take the command line by either name', () => {
    expect(settings({ cmdline: 'quiet' }).cmdline).toBe('quiet');
    expect(settings({ append: 'quiet' }).cmdline).toBe('quiet');
  });

  it('pair each --send with its --after', () => {
    const { script } = settings({ send: ['root\\n', 'ls\\n'], after: ['login:', '/^# /'] });
    expect(script.map(({ after }) => after)).toEqual(['login:', /^# /]);
    expect(script.map(({ send }) => String.fromCharCode(...send))).toEqual(['root\n', 'ls\n']);
  });

  it('send at once what has no --after', () => {
    expect(settings({ send: ['a', 'b'] }).script).toEqual([{ send: Uint8Array.of(97) }, { send: Uint8Array.of(98) }]);
  });

  it('count the seconds of --rtc from 1970, in UTC', () => {
    expect(settings({ rtc: '1970-01-02' }).rtcSeconds).toBe(86_400);
  });

  const wrong: [Partial<BootOptions>, RegExp][] = [
    [{ cmdline: 'a', append: 'b' }, /two command lines/],
    [{ replayInput: 'keys', interactive: true }, /--replay-input, --interactive/],
    [{ replayInput: 'keys', send: ['x'] }, /--replay-input, --send/],
    [{ send: ['x'], after: ['a', 'b'] }, /1 --send and 2 --after/],
    [{ after: ['a'] }, /0 --send and 1 --after/],
    [{ memory: 'lots' }, /--memory is not a size/],
    [{ memory: '1M' }, /at least 2 MiB/],
    [{ memory: '4G' }, /at most --memory 3G/],
    [{ timeout: '0' }, /--timeout is not a time/],
    [{ maxInstructions: '0' }, /--max-instructions is out of range/],
    [{ until: '12' }, /--until is neither/],
    [{ expect: '/(/' }, /--expect is not a regular expression/],
    [{ cpu: '+AVX' }, /AVX/],
    [{ cpu: 'fast' }, /--cpu does not know/],
    [{ debugExitSuccess: 'yes' }, /--debug-exit-success/],
    [{ lastBlocks: '-1' }, /--last-blocks/],
    [{ dump: [{ at: 0, length: (256 << 20) + 1, file: '/dev/null' }] }, /beyond the guest's memory/],
    [{ report: '/tmp/one-file', dump: [{ at: 0, length: 1, file: '/tmp/one-file' }] }, /two outputs go to one file/],
    [{ report: '/nowhere/at/all.json' }, /--report \/nowhere/],
    [{ report: '/' }, /it is a directory/],
    [{ trace: ['/tmp/a.txt'] }, /\.perfetto\.json, \.json, \.ftrace\.txt, \.trace\.dat, \.drcov, \.lcov/],
    [{ trace: ['/tmp/a.lcov', '/tmp/a.lcov'] }, /two outputs go to one file/],
    [{ trace: ['/nowhere/a.json'] }, /--trace \/nowhere/],
    [{ waypoint: ['12'] }, /--waypoint is neither/],
  ];
  it.each(wrong)('refuse %j before anything runs', (options, message) => {
    expect(() => settings(options)).toThrow(VmError);
    expect(() => settings(options)).toThrow(message);
  });

  it('let a report take the place of an old one', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'zeropage-')), 'report.json');
    writeFileSync(file, 'old');
    expect(settings({ report: file })).toBeTruthy();
  });
});
