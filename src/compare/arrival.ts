/** Paths that crash, or never come where others do.
 *
 * A path that dies is the gravest difference of all, and the one with the least to compare: what helps is how far it came,
 * which function it entered last, and which steps the others took next.
 * Next: compare/one-path-functions.ts. */
import { type Evidence, type Finding, list, thousands } from './findings.ts';
import type { LineUp } from './line-up.ts';
import type { PathView } from './path-view.ts';

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
        ? `${via} ends badly (${exit.reason}), where ${list(better)} ${better.length === 1 ? 'ends' : 'end'} well`
        : `${via} never reaches ${meeting}, as ${list(others)} ${others.length === 1 ? 'does' : 'do'}: ${exit.reason}`,
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
  if (fault) {
    evidence.push({ path: via, text: `last exception: ${fault.what} at ${fault.where ?? fault.rip}`, at: fault.at });
  }
  const steps = [...view.functions.values()].filter(({ tool }) => !tool);
  const last = steps.at(-1);
  if (last) evidence.push({ path: via, text: `last function entered for the first time: ${called(last)}`, at: last.first });
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
  const line = record.console.trimEnd().split('\n').at(-1);
  if (line) evidence.push({ path: via, text: `last line on the console: ${JSON.stringify(line)}` });
  return evidence;
}

const called = ({ name, callSite }: { name: string; callSite: string | undefined }): string =>
  callSite === undefined ? name : `${name}, called by ${callSite}`;

export const afterInstructions = (at: number): string => `after ${thousands(at)} instructions`;
