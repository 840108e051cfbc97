/** Pattern: one item of a list in a rules file, and what it fits.
 *
 * A number, a range of numbers, or a name in which * stands for any letters and ? for one. Matching walks the name once
 * and backs up to the last star only, so that no pattern is slow.
 * May not: throw; the parser says what is wrong with an item.   Next: compare/rules/nearest.ts. */

import { sourceName } from '../names.ts';

export type Pattern =
  | { kind: 'name'; text: string }
  /** Both ends belong to it. */
  | { kind: 'range'; from: bigint; to: bigint; text: string };

const NUMBER = /^(?:0x[0-9a-f]{1,16}|[0-9]{1,20})$/i;
const RANGE = /^(0x[0-9a-f]{1,16}|[0-9]{1,20})-(0x[0-9a-f]{1,16}|[0-9]{1,20})$/i;
const TOP = (1n << 64n) - 1n;

/** A number or a range, undefined when the text is neither; ends may be the wrong way round. */
export function rangeOf(text: string): Extract<Pattern, { kind: 'range' }> | undefined {
  const ends = NUMBER.test(text) ? [text, text] : RANGE.exec(text)?.slice(1);
  if (ends === undefined) return undefined;
  const [from, to] = ends.map(BigInt);
  return from > TOP || to > TOP ? undefined : { kind: 'range', from, to, text };
}

/** Whether a name fits a pattern with * and ?. */
export function fitsName(pattern: string, name: string): boolean {
  let [p, n] = [0, 0];
  let [star, mark] = [-1, 0];
  while (n < name.length) {
    if (pattern[p] === '*') {
      star = p++;
      mark = n;
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === name[n])) {
      p++;
      n++;
    } else if (star >= 0) {
      p = star + 1;
      n = ++mark;
    } else return false;
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}

/** A function's name fits as it is, or without what a compiler put behind it. */
export function fitsFunction(pattern: Pattern, name: string): boolean {
  return pattern.kind === 'name' && (fitsName(pattern.text, name) || fitsName(pattern.text, sourceName(name)));
}
