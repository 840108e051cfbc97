/** State that differs where the paths meet, outside the list of legitimate differences.
 *
 * From here on one kernel runs, and it will believe what it finds: a field that one path has left empty is a bug that waits
 * for its first reader. Values are held side by side by field name. Memory whose type nobody knows is compared between
 * paths of one and the same kernel file only, since its layout is that build's.
 * Next: compare/state.ts. */
import { ALLOWED_FIELDS, kindOf } from './allowed.ts';
import { type Finding, list } from './findings.ts';
import type { PathView } from './path-view.ts';
import { movedBy, type StateTable, stateTable } from './state.ts';

export function stateDifferences(all: readonly PathView[], meeting: string | undefined): Finding[] {
  const views = all.filter((view) => view.meeting !== undefined);
  if (meeting === undefined || views.length < 2) return [];
  const tables = new Map(views.map((view) => [view, stateTable(view.meeting?.state as never, movedBy(view.record))]));
  const fields = new Set<string>();
  for (const table of tables.values()) for (const field of table.keys()) fields.add(field);
  const differing = new Map<string, { views: PathView[]; values: Map<string, string> }>();
  for (const field of fields) {
    const having = comparable(views, tables, field);
    const values = new Map(having.map((view) => [view.via, tables.get(view)?.get(field) ?? ABSENT]));
    if (new Set(values.values()).size < 2) continue;
    if (isAllowed(field, values)) continue;
    differing.set(field, { views: having, values });
  }
  return group(differing, meeting);
}

const ABSENT = 'absent';

/** Paths on which the field means the same thing. */
function comparable(views: readonly PathView[], tables: ReadonlyMap<PathView, StateTable>, field: string): PathView[] {
  const having = views.filter((view) => tables.get(view)?.has(field));
  // Entries of a table are there or not, and that is the difference; objects and regions are compared where they exist.
  if (field.startsWith('tables.')) return [...views];
  if (!/[+[]/.test(field) && !/^(?:cpl|mode|control|msrs|segments|paging)/.test(field)) return having;
  const sha = having[0]?.record.kernel.sha256;
  return /[+[]/.test(field) ? having.filter(({ record }) => record.kernel.sha256 === sha) : having;
}

/** A row speaks of kinds of paths: without those, the others must agree. */
function isAllowed(field: string, values: ReadonlyMap<string, string>): boolean {
  let rest = [...values];
  for (const row of ALLOWED_FIELDS) {
    if (!row.fields.test(field)) continue;
    if (row.between === undefined) return true;
    const { between } = row;
    rest = rest.filter(([via]) => !between.includes(kindOf(via)));
  }
  return new Set(rest.map(([, value]) => value)).size < 2;
}

/** Fields of one object that divide the paths alike are one finding. */
function group(
  differing: ReadonlyMap<string, { views: PathView[]; values: Map<string, string> }>,
  meeting: string,
): Finding[] {
  const groups = new Map<string, { object: string; fields: string[] }>();
  for (const [field, { values }] of differing) {
    const object = field.replace(/[+[].*$/, '').replace(/^(tables\.\w+)\..*$/, '$1');
    const key = `${object} ${[...division(values)].map((paths) => paths.join('+')).join(' ')}`;
    const found = groups.get(key);
    if (found) found.fields.push(field);
    else groups.set(key, { object, fields: [field] });
  }
  return [...groups.values()].map(({ object, fields }) => {
    const { values } = differing.get(fields[0]) as { values: Map<string, string> };
    const sides = division(values).sort((a, b) => a.length - b.length);
    const odd = sides[0];
    const what = fields.length === 1 ? fields[0] : `${object} (${fields.length} places)`;
    return {
      id: `state/${fields.length === 1 ? fields[0] : object}/${odd.join('+')}`,
      kind: 'state',
      paths: odd,
      subject: fields[0],
      title: `${what} differs at ${meeting}: ${sides.map((paths) => `${list(paths)} ${paths.length === 1 ? 'has' : 'have'} ${values.get(paths[0])}`).join(', ')}`,
      waypoint: meeting,
      evidence: fields
        .slice(0, MOST_FIELDS)
        .flatMap((field) =>
          [...(differing.get(field)?.values ?? [])].map(([path, value]) => ({ path, text: `${field} = ${value}` })),
        ),
    } satisfies Finding;
  });
}

const MOST_FIELDS = 8;

/** Paths by equal value. */
function division(values: ReadonlyMap<string, string>): string[][] {
  const sides = new Map<string, string[]>();
  for (const [via, value] of values) sides.set(value, [...(sides.get(value) ?? []), via]);
  return [...sides.values()];
}
