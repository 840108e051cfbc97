/** What users type, turned into values: patterns, escaped text, dump ranges, addresses.
 *
 * Each parser takes the text and the option's name and throws a UsageError that says how to write it; the command
 * line ends with 2 then, before any file is opened.
 * May not: open files, or know what the values are used for.   Next: cli/output.ts. */
import { VmError } from '../base/errors.ts';
import { hex, parseNumber, parseSize } from '../base/numbers.ts';
import type { TextPattern } from '../machine/pattern.ts';
import type { FrameOrder } from '../memory/machine-frames.ts';

/** The command line cannot be understood: exit 2. */
export class UsageError extends VmError {}

function usage(option: string, what: string, why: string, fix: string): UsageError {
  return new UsageError({ what, where: option, why, fix });
}

/** How a Xen PV guest's frames lie in the machine: identity, scrambled, or scrambled:SEED. */
export function parseFrameOrder(text: string, option = '--mfn'): FrameOrder {
  if (text === 'identity' || text === 'scrambled') return text;
  const seed = Number(/^scrambled:(0x[0-9a-f]{1,8}|[0-9]{1,10})$/i.exec(text)?.[1] ?? Number.NaN);
  if (seed < 2 ** 32) return { scrambled: seed };
  throw usage(
    option,
    `${option} is no order of frames: ${JSON.stringify(text)}`,
    'identity, scrambled, or scrambled: with a seed from 0 to 4294967295 is expected',
    `write it as in ${option} scrambled:7`,
  );
}

/** TEXT with C escapes, or /RE/, or /RE/i. The console is bytes, so both become one character per byte. */
export function parsePattern(text: string, option: string): TextPattern {
  const expression = /^\/(.+)\/(i?)$/s.exec(text);
  if (!expression) {
    if (text !== '') return unescapeText(text, option);
    throw usage(
      option,
      `${option} is empty`,
      'an empty text is found before the guest starts',
      `give the text to wait for`,
    );
  }
  try {
    return new RegExp(utf8(expression[1]), expression[2]);
  } catch (error) {
    throw usage(
      option,
      `${option} is not a regular expression: ${text}`,
      (error as Error).message,
      `write it as JavaScript does, or give plain text (without slashes around it)`,
    );
  }
}

const SINGLE: Record<string, string> = {
  n: '\n', r: '\r', t: '\t', a: '\x07', b: '\b', f: '\f', v: '\v', e: '\x1b',
  '\\': '\\', '"': '"', "'": "'", '?': '?', '/': '/',
}; // biome-ignore format: a table

/** C escapes: \n \r \t \a \b \f \v \e \\ \" \' \? \/ \xHH \uHHHH and up to three octal digits. What is typed as it is
 * becomes UTF-8; the result has one character per byte. */
export function unescapeText(text: string, option: string): string {
  return utf8(text).replaceAll(/\\(x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|[0-7]{1,3}|[\s\S]|$)/g, (whole, code: string) => {
    if (/^x./.test(code)) return String.fromCharCode(Number.parseInt(code.slice(1), 16));
    if (/^u./.test(code)) return utf8(String.fromCharCode(Number.parseInt(code.slice(1), 16)));
    if (/^[0-7]/.test(code)) return String.fromCharCode(Number.parseInt(code, 8) & 0xff);
    const character = SINGLE[code];
    if (character !== undefined) return character;
    throw usage(
      option,
      `${option} has an escape that C does not know: ${JSON.stringify(whole)}`,
      'a backslash starts an escape: \\n \\r \\t \\e \\\\ \\xHH \\uHHHH or octal digits',
      'write \\\\ for a backslash',
    );
  });
}

/** UTF-8 as a string of one character per byte. */
function utf8(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

/** The bytes of a string of one character per byte. */
export function inputBytes(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

export type DumpRequest = { at: number; length: number; file: string };

/** ADDR:LENGTH:FILE; the file may contain colons. */
export function parseDump(text: string, option: string): DumpRequest {
  const match = /^([^:]+):([^:]+):(.+)$/s.exec(text);
  if (!match) {
    throw usage(
      option,
      `${option} is not ADDR:LENGTH:FILE: ${JSON.stringify(text)}`,
      'a guest physical address, a length and a file are expected, with colons between them',
      `write it as in ${option} 0x100000:64K:kernel.bin`,
    );
  }
  const request = { at: parseSize(match[1], option), length: parseSize(match[2], option), file: match[3] };
  if (request.length > 0) return request;
  throw usage(option, `${option} of no bytes`, `the length is ${match[2]}`, 'ask for at least one byte');
}

export type Place = { address: bigint } | { symbol: string };

/** SYMBOL, SYMBOL+OFFSET or 0xADDR (an address of the guest's own, virtual where it uses paging). */
export function parsePlace(text: string, option: string): Place {
  if (/^0x[0-9a-f]{1,16}$/i.test(text)) return { address: BigInt(text) };
  if (/^[A-Za-z_.$][\w.$]*$/.test(text)) return { symbol: text };
  throw usage(
    option,
    `${option} is neither a symbol nor an address: ${JSON.stringify(text)}`,
    'a name of letters, digits, _ . and $, or 0x and up to 16 hexadecimal digits, is expected',
    `write it as in ${option} start_kernel or ${option} ${hex(0x100000)}`,
  );
}

/** A whole number within limits. */
export function parseCount(text: string, option: string, least = 0, most = Number.MAX_SAFE_INTEGER): number {
  const value = parseCountOrScientific(text, option);
  if (value >= least && value <= most) return value;
  throw usage(
    option,
    `${option} is out of range: ${text}`,
    `it is between ${least} and ${most}`,
    `give a number in that range`,
  );
}

/** 2e9 and 500M are how people write instruction counts; M is a million here, not 2^20. */
function parseCountOrScientific(text: string, option: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)(?:e([0-9]{1,2})|([kmg]))?$/i.exec(text);
  const exponent = match?.[2] ? Number(match[2]) : { k: 3, m: 6, g: 9 }[match?.[3]?.toLowerCase() ?? ''];
  if (!match || exponent === undefined) return parseNumber(text, option);
  const value = Number(match[1]) * 10 ** exponent;
  return Number.isSafeInteger(value) ? value : parseNumber(text, option);
}

/** Host seconds; fractions are welcome. */
export function parseSeconds(text: string, option: string): number {
  const value = /^[0-9]*\.?[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (value > 0 && value <= 1e7) return value;
  throw usage(
    option,
    `${option} is not a time: ${JSON.stringify(text)}`,
    'seconds are expected',
    `write it as in ${option} 30`,
  );
}

/** The RTC's first date: an ISO date with an optional time, always UTC. */
export function parseDate(text: string, option: string): Date {
  const match = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?Z?)?$/.exec(text);
  const numbers = (match ?? []).slice(1).map((part) => Number(part ?? 0));
  const date = new Date(Date.UTC(numbers[0], numbers[1] - 1, numbers[2], numbers[3], numbers[4], numbers[5]));
  const same =
    match &&
    date.getUTCMonth() === numbers[1] - 1 &&
    date.getUTCDate() === numbers[2] &&
    date.getUTCHours() === numbers[3];
  if (same && numbers[4] < 60 && numbers[5] < 60 && numbers[0] >= 1970 && numbers[0] < 2100) return date;
  throw usage(
    option,
    `${option} is not a date that a PC clock can show: ${JSON.stringify(text)}`,
    'an ISO date between 1970 and 2099, with or without a time, in UTC, is expected',
    `write it as in ${option} 2024-02-29T12:00:00`,
  );
}

/** Collects a repeatable option. */
export const collect =
  <T>(parse: (text: string, option: string) => T, option: string) =>
  (text: string, previous: T[] = []): T[] => [...previous, parse(text, option)];
