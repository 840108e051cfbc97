/** Paths that crash, or never come where others do.
 *
 * A path that dies is the gravest difference of all, and the one with the least to compare: what helps is how far it came,
 * which function it entered last, and which steps the others took next.
 * Next: compare/one-path-functions.ts. */
import { type Evidence, type Finding, list } from './findings.ts';
import type { LineUp } from './line-up.ts';
import type { PathView } from './path-view.ts';
import { doings } from './state-changes.ts';
import { isDying } from './steps.ts';

export function arrivalFindings(views: readonly PathView[], { meeting }: LineUp): Finding[] {
  const findings: Finding[] = [];
  const good = views.filter(({ record }) => record.exit.code === 0);
  for (const view of views) {
    const { via, record } = view;
    const { exit } = record;
    const came = view.meeting !== undefined || meeting === undefined;
    const others = views.filter((other) => other !== view && other.meeting !== undefined).map((other) => other.via);
    const better = good.map((other) => other.via);
    if (came && (exit.code === 0 || better.length === 0)) continue;
    if (!came && others.length === 0) continue;
    findings.push({
      id: `arrival/${exit.reason}/${via}`,
      kind: 'arrival',
      paths: [via],
      subject: exit.reason,
      title: came
        ? `${via} ends badly (${exit.reason}), where ${list(better)} ${better.length === 1 ? 'ends' : 'end'} well${lastWords(view, good)}`
        : `${via} never reaches ${meeting}, as ${list(others)} ${others.length === 1 ? 'does' : 'do'}: ${exit.reason}${lastWords(view, good)}`,
      ...(meeting !== undefined && { waypoint: meeting }),
      evidence: lastSigns(view, views),
    });
  }
  return findings;
}

/** How far it came, and what the others did next. */
function lastSigns(view: PathView, views: readonly PathView[]): Evidence[] {
  const { via, record } = view;
  const evidence: Evidence[] = [{ path: via, text: record.exit.detail, at: record.instructions }];
  const fault = record.events.filter(({ kind }) => kind === 'exception').at(-1);
  // Behind a hypervisor many exceptions are emulated instructions; a guest that judges itself has met no other kind.
  if (fault && record.exit.code >= 4) {
    evidence.push({ path: via, text: `last exception: ${fault.what} at ${fault.where ?? fault.rip}`, at: fault.at });
  }
  for (const line of complaints(
    record.console,
    views.filter((other) => other.record.exit.code === 0),
  )) {
    evidence.push({ path: via, text: `it said ${JSON.stringify(line)}` });
  }
  const alone = [...doings(record, undefined)].filter(
    (each) => !views.some((other) => other !== view && didBefore(other, each)),
  );
  if (record.exit.code >= 4 && alone.length > 0) {
    evidence.push({
      path: via,
      text: `does what no other path does before they meet: ${alone.slice(0, MOST_LINES).join(', ')}`,
    });
  }
  const steps = [...view.functions.values()].filter(({ tool, name }) => !tool && !isDying(name));
  const last = steps.at(-1);
  if (last)
    evidence.push({ path: via, text: `last function entered for the first time: ${called(last)}`, at: last.first });
  const ran = new Set(steps.map(({ name }) => name));
  for (const other of views) {
    if (other === view || last === undefined) continue;
    const theirs = [...other.functions.values()].filter(({ tool }) => !tool);
    const from = theirs.findIndex(({ name }) => name === last.name);
    const next = from < 0 ? undefined : theirs.slice(from + 1).find(({ name }) => !ran.has(name));
    if (next === undefined) continue;
    evidence.push({ path: other.via, text: `goes on to ${called(next)} after ${last.name}`, at: next.first });
    break;
  }
  return evidence;
}

const didBefore = ({ record, meeting }: PathView, what: string) => doings(record, meeting?.name).has(what);

/** The first line of trouble, for the title. */
function lastWords({ record }: PathView, good: readonly PathView[]): string {
  const line = complaints(record.console, good)[0];
  if (line !== undefined) return `, having said ${JSON.stringify(line.slice(0, 120))}`;
  const fault = record.events.filter(({ kind }) => kind === 'exception').at(-1);
  return fault && record.exit.code >= 4 ? `, after ${fault.what} in ${fault.where ?? fault.rip}` : '';
}

/** Lines that tell of trouble, and that no path prints that ends well; the last line when there are none. */
function complaints(console: string, good: readonly PathView[]): string[] {
  const lines = console.split('\n').map((line) => line.trim());
  const trouble = /\b(?:fail\w*|bug|warn\w*|panic|errors?|faults?|refus\w*|unable|cannot|not ready|corrupt\w*)\b/i;
  const found = lines.filter((line) => trouble.test(line) && !good.some(({ record }) => record.console.includes(line)));
  // What ended it counts more than what it could live with.
  const fatal = /panic|\bBUG\b|verdict/;
  found.sort((a, b) => Number(fatal.test(b)) - Number(fatal.test(a)));
  return found.length > 0 ? found.slice(0, MOST_LINES) : lines.filter((line) => line !== '').slice(-1);
}

const MOST_LINES = 4;

const called = ({ name, callSite }: { name: string; callSite: string | undefined }): string =>
  callSite === undefined ? name : `${name}, called by ${callSite}`;
