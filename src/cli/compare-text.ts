/** A comparison in words: the paths, then what was found, most important first, each with what shows it.
 *
 * May not: decide what is important.   Next: cli/compare.ts. */
import { type Finding, list, thousands } from '../compare/findings.ts';
import type { Verdict } from './compare-kernel.ts';
import { COLOURED, PLAIN, textTable } from './text-table.ts';

const MOST_EVIDENCE = 12;
/** A terminal is for reading: of each kind the first ones are told, and how many there are. */
const MOST_OF_A_KIND = 50;
const MOST_NOTES = 50;

export function comparisonText(verdict: Verdict, width: number, colour: boolean): string {
  const style = colour ? COLOURED : PLAIN;
  const { findings, notes, meeting } = verdict;
  const lines: string[] = [style.heading(`${verdict.kernel}: ${verdict.paths.length} paths, ${where(verdict)}`)];
  const rows = verdict.paths.map(({ via, toMeeting, functionsBefore, instructions, exit }) => [
    via,
    toMeeting === undefined ? 'never comes there' : `${thousands(toMeeting)} to ${meeting.meeting ?? 'there'}`,
    `${thousands(functionsBefore)} functions before`,
    `${thousands(instructions)} in all`,
    `${exit.reason} (${exit.code})`,
  ]);
  if (rows.length > 0) {
    lines.push(
      textTable(rows, width, (cell, row, column) => {
        if (column !== 4) return cell;
        return verdict.paths[row].exit.code === 0 ? style.good(cell) : style.bad(cell);
      }).trimEnd(),
    );
  }
  const told = new Map<string, number>();
  for (const [number, finding] of findings.entries()) {
    const before = told.get(finding.kind) ?? 0;
    told.set(finding.kind, before + 1);
    if (before >= MOST_OF_A_KIND) continue;
    lines.push('', style.bad(`${number + 1}. ${finding.kind}: ${finding.title}`), ...details(finding));
  }
  const untold = [...told].filter(([, count]) => count > MOST_OF_A_KIND);
  if (untold.length > 0) {
    const counts = untold.map(([kind, count]) => `${thousands(count - MOST_OF_A_KIND)} of kind ${kind}`);
    lines.push('', `... and ${list(counts)} that are not shown (--json and --junit have them all)`);
  }
  if (notes.length > 0) {
    lines.push('', style.heading('Notes (they do not count)'));
    for (const note of notes.slice(0, MOST_NOTES)) lines.push(`  ${note.title}`);
    if (notes.length > MOST_NOTES)
      lines.push(`  ... and ${thousands(notes.length - MOST_NOTES)} more (--json has them all)`);
  }
  lines.push('', closing(verdict, style));
  return `${lines.join('\n')}\n`;
}

function where({ meeting: { meeting, missing }, against }: Verdict): string {
  const since = against === undefined ? '' : `, held against ${against}`;
  if (meeting === undefined) return `which meet nowhere that is known by name${since}`;
  return `which meet in ${meeting}${missing.length > 0 ? ` (${list(missing)} never comes there)` : ''}${since}`;
}

function details({ why, evidence }: Finding): string[] {
  const out = why === undefined ? [] : [`   ${why}`];
  const column = Math.max(0, ...evidence.map(({ path }) => path.length));
  for (const { path, text, at } of evidence.slice(0, MOST_EVIDENCE)) {
    out.push(`   ${path.padEnd(column)}  ${text}${at === undefined ? '' : `, after ${thousands(at)} instructions`}`);
  }
  const more = evidence.length - MOST_EVIDENCE;
  if (more > 0) out.push(`   ... and ${more} more (--json has them all)`);
  return out;
}

function closing({ findings, notes, against, exitCode }: Verdict, style: typeof PLAIN): string {
  if (exitCode >= 4) return style.bad(`Every path ends badly: exit ${exitCode}.`);
  if (findings.length === 0 && notes.some(({ id }) => /^not-compared\/(?:symbols|meeting|others)$/.test(id))) {
    return style.bad('Nothing was found, but not everything was compared: see the notes.');
  }
  if (findings.length === 0) {
    return style.good(
      against === undefined
        ? 'No differences but those that have a reason.'
        : 'No change that reached some of the paths only.',
    );
  }
  return style.bad(`${thousands(findings.length)} ${findings.length === 1 ? 'finding' : 'findings'}.`);
}
