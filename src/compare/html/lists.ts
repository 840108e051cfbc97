/** Lists: the functions of all paths in one table, and what the guests did to their machines, as data for the page's script.
 *
 * A page with ten thousand rows of markup is slow, so rows are made by the script as they come into sight. Texts that come
 * again and again (callers, places) are numbers into one list. Events beyond a limit are left out, and the page says so.
 * May not: hold markup; the script makes text of all of it.   Next: compare/html/client.ts. */
import type { RunRecord } from '../../trace/run-record.ts';
import { visible } from './markup.ts';

/** First entry, entries in all, entries before the meeting place, its first caller (a number of `texts`, 0 for none). */
type RanOn = readonly [first: number, count: number, before: number, caller: number];
type ListedEvent = readonly [
  path: number,
  at: number,
  kind: number,
  what: number,
  where: number,
  values: string,
  isBefore: 0 | 1,
];

export type ListData = {
  paths: string[];
  meeting: string | null;
  /** 0 is the empty text. */
  texts: string[];
  /** Name, then for each path how it ran there, 0 where it did not. */
  functions: (readonly [name: string, ...ran: (RanOn | 0)[]])[];
  events: ListedEvent[];
  /** For each path: events that are not listed. */
  leftOut: number[];
};

/** For each path. */
const MOST_EVENTS = 15_000;
const LONGEST_VALUES = 160;

export function listData(records: readonly RunRecord[], meeting: string | undefined): ListData {
  const texts = new Map<string, number>([['', 0]]);
  const number = (text: string): number => {
    const key = visible(text);
    const known = texts.get(key);
    if (known !== undefined) return known;
    texts.set(key, texts.size);
    return texts.size - 1;
  };
  const functions = functionRows(records, meeting, number);
  const events = records.flatMap(({ events: all, waypoints }, path) => {
    const until = waypoints.find(({ name }) => name === meeting)?.at ?? Number.POSITIVE_INFINITY;
    return all.slice(0, MOST_EVENTS).map(({ at, kind, what, where, rip, values }): ListedEvent => {
      const shown = visible(values.join(' ')).slice(0, LONGEST_VALUES);
      return [path, at, number(kind), number(what), number(where ?? rip), shown, at < until ? 1 : 0];
    });
  });
  return {
    paths: records.map(({ via }) => via),
    meeting: meeting ?? null,
    functions,
    events,
    leftOut: records.map(({ events: all, eventsDropped }) => Math.max(0, all.length - MOST_EVENTS) + eventsDropped),
    texts: [...texts.keys()],
  };
}

/** One row for each name; of several functions with one name the first of each path stand in one row, then the second. */
function functionRows(
  records: readonly RunRecord[],
  meeting: string | undefined,
  number: (text: string) => number,
): ListData['functions'] {
  const rows = new Map<string, (RanOn | 0)[]>();
  for (const [path, { functions, waypoints }] of records.entries()) {
    const place = waypoints.findIndex(({ name }) => name === meeting);
    const seen = new Map<string, number>();
    for (const { name, first, count, counts, caller } of functions) {
      const nth = (seen.get(name) ?? 0) + 1;
      seen.set(name, nth);
      const key = visible(nth === 1 ? name : `${name} (${nth})`);
      const row = rows.get(key) ?? records.map((): RanOn | 0 => 0);
      // A path that never came to the meeting place has everything before it.
      row[path] = [first, count, place < 0 ? count : (counts[place] ?? 0), number(caller ?? '')];
      rows.set(key, row);
    }
  }
  return [...rows].map(([name, ran]) => [name, ...ran] as const);
}
