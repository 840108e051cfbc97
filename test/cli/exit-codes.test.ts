import { CommanderError } from 'commander';
import { describe, expect, it } from 'vitest';
import { AssertionError, BootError, ImageError, VmError } from '../../src/base/errors.ts';
import { explain } from '../../src/cli/exit-codes.ts';
import { UsageError } from '../../src/cli/options.ts';
import { InputError } from '../../src/machine/input.ts';

const parts = { what: 'it is broken', where: 'file', why: 'a reason', fix: 'a way out' };
const explained = (error: unknown) => {
  let text = '';
  const code = explain(error, (part) => {
    text += part;
  });
  return { code, text };
};

describe('what was thrown becomes an exit code', () => {
  it.each([
    [new UsageError(parts), 2, 'UsageError: it is broken'],
    [new VmError(parts), 2, 'UsageError: it is broken'],
    [new ImageError(parts), 3, 'ImageError: it is broken'],
    [new BootError(parts), 3, 'BootError: it is broken'],
    [new InputError(parts), 3, 'InputError: it is broken'],
  ])('%s', (error, code, first) => {
    expect(explained(error).code).toBe(code);
    expect(explained(error).text).toBe(`${first}\n  where: file\n  why:   a reason\n  fix:   a way out\n`);
  });

  it.each([new AssertionError('broken belief'), new RangeError('offset'), 'a string'])('%s is our bug: 70', (error) => {
    expect(explained(error).code).toBe(70);
    expect(explained(error).text).toMatch(/This is a bug in zeropage \d+\.\d+\.\d+ .*\nPlease report it/);
  });

  it('commander has printed what it throws', () => {
    expect(explained(new CommanderError(0, 'commander.helpDisplayed', ''))).toEqual({ code: 0, text: '' });
    expect(explained(new CommanderError(1, 'commander.unknownOption', ''))).toEqual({ code: 2, text: '' });
  });
});
