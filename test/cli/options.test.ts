import { describe, expect, it } from 'vitest';
import {
  inputBytes, parseCount, parseDate, parseDump, parsePattern, parsePlace, parseSeconds, UsageError, unescapeText,
} from '../../src/cli/options.ts'; // biome-ignore format: short

describe('escaped text', () => {
  const cases = [
    ['root\\n', 'root\n'],
    ['a\\r\\tb\\\\n', 'a\r\tb\\n'],
    ['\\x1b[A\\e[B', '\x1b[A\x1b[B'],
    ['\\0\\101\\377', '\0A\xff'],
    ['é', '\xc3\xa9'],
    ['\\u00e9', '\xc3\xa9'],
    ['\\xe9', '\xe9'],
  ] as const;
  it.each(cases)('reads %j as C does', (text, expected) => {
    expect(unescapeText(text, '--send')).toBe(expected);
    expect(inputBytes(expected).length).toBe(expected.length);
  });

  it.each(['\\q', 'end\\', '\\xzz'])('refuses %j, which C does not know', (text) => {
    expect(() => unescapeText(text, '--send')).toThrow(UsageError);
  });
});

describe('patterns', () => {
  it('takes text as it is, with escapes', () => expect(parsePattern('login: \\x21', '--after')).toBe('login: !'));
  it('takes an expression between slashes', () => expect(parsePattern('/^ok \\d+/i', '--expect')).toEqual(/^ok \d+/i));
  it('takes a path as text', () => expect(parsePattern('/dev/sda', '--expect')).toBe('/dev/sda'));
  it.each(['', '/(/'])('refuses %j', (text) => expect(() => parsePattern(text, '--expect')).toThrow(UsageError));
});

describe('values', () => {
  it('takes a dump as address, length and a file that may have colons', () => {
    expect(parseDump('0x100000:64K:a:b.bin', '--dump')).toEqual({ at: 0x100000, length: 65536, file: 'a:b.bin' });
  });
  it.each(['0x1000', '0x1000:4', '0x1000:0:f', ':4:f', 'x:4:f', '1:-4:f'])('refuses the dump %j', (text) => {
    expect(() => parseDump(text, '--dump')).toThrow(/--dump/);
  });

  it('takes a place as a symbol or an address', () => {
    expect(parsePlace('start_kernel', '--until')).toEqual({ symbol: 'start_kernel' });
    expect(parsePlace('0xffffffff81000000', '--until')).toEqual({ address: 0xffff_ffff_8100_0000n });
  });
  it.each(['', '0x', '1234', 'a b', '0x12345678901234567'])('refuses the place %j', (text) => {
    expect(() => parsePlace(text, '--until')).toThrow(UsageError);
  });

  const counts = [['5', 5], ['0x10', 16], ['2e9', 2e9], ['1.5e3', 1500], ['500M', 5e8], ['2k', 2000]] as const; // biome-ignore format: short
  it.each(counts)('reads the count %j as %d', (text, value) => {
    expect(parseCount(text, '--max-instructions')).toBe(value);
  });
  it.each(['', 'x', '-1', '1.5', '1e99', '0'])('refuses the count %j where at least 1 is needed', (text) => {
    expect(() => parseCount(text, '--max-instructions', 1)).toThrow(/--max-instructions/);
  });

  it.each([
    ['30', 30],
    ['0.5', 0.5],
    ['.5', 0.5],
  ] as const)('reads %j as seconds', (text, value) => {
    expect(parseSeconds(text, '--timeout')).toBe(value);
  });
  it.each(['', '0', '-1', '5s', 'inf', '1e3'])('refuses %j as seconds', (text) => {
    expect(() => parseSeconds(text, '--timeout')).toThrow(UsageError);
  });

  it('reads a date with and without a time, in UTC', () => {
    expect(parseDate('2024-02-29', '--rtc')).toEqual(new Date(Date.UTC(2024, 1, 29)));
    expect(parseDate('2024-02-29T12:34:56', '--rtc')).toEqual(new Date(Date.UTC(2024, 1, 29, 12, 34, 56)));
  });
  it.each(['2023-02-29', 'now', '1969-01-01', '2100-01-01', '2024-01-01T24:00:00', '2024-01-01T10:61'])(
    'refuses the date %j',
    (text) => expect(() => parseDate(text, '--rtc')).toThrow(UsageError),
  );
});
