/** comparePage: a comparison as one HTML file for people.
 *
 * It needs nothing but itself: no network, no other file, no framework; a policy in its head forbids the rest. The same
 * records give the same bytes, whenever and wherever the page is made. Whatever comes from a kernel is text in it.
 * May not: judge; findings come made.   Next: compare/junit.ts. */
import type { RunRecord } from '../trace/run-record.ts';
import type { Comparison } from './compare.ts';
import { CLIENT } from './html/client.ts';
import { findingsView } from './html/findings-view.ts';
import type { HandedOver } from './html/handed-over.ts';
import { listData } from './html/lists.ts';
import { grouped, Html, html, jsonForScript } from './html/markup.ts';
import { handoverView, stateView } from './html/state-view.ts';
import { STYLE } from './html/style.ts';
import { timeline } from './html/timeline.ts';
import { sourceName } from './names.ts';

export type { HandedOver } from './html/handed-over.ts';

export type PageInput = {
  comparison: Comparison;
  records: readonly RunRecord[];
  /** What each path's loader gave its guest, by field; from the plans. */
  handedOver?: readonly HandedOver[];
  /** The baseline that this was held against; findings are then about change. */
  against?: string;
};

type Section = [id: string, title: string, lead: string, body: Html];

export function comparePage({ comparison, records, handedOver = [], against }: PageInput): string {
  const { findings, notes } = comparison;
  const { meeting } = comparison.meeting;
  const names = new Set(records.flatMap(({ functions }) => functions.map(({ name }) => sourceName(name))));
  const handed = handoverView(handedOver);
  const lists = listData(records, meeting);
  const sections: Section[] = [
    ['findings', 'Findings', '', findingsView(findings, notes, (name) => names.has(name))],
    ['timeline', 'Timeline', timelineLead(meeting), timeline(records, meeting, findings)],
    ...(handed ? ([['handover', 'What each loader hands over', 'The same things in the words of each structure; what is zero is left out.', handed]] satisfies Section[]) : []),
    ['state', meeting === undefined ? 'State' : `State at ${meeting}`, 'From here on all paths run the same code, and it believes what it finds.', stateView(records, meeting)],
    ['functions', 'Functions', 'Everything that ran, with the instruction of its first entry. A click on a row shows who called it on each path.', functionSection(meeting)],
    ['events', 'Events', 'What the guests did to their machines.', eventSection(lists.leftOut, records, meeting)],
    ['console', 'Console', '', consoles(records)],
  ];
  const page = html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${fileNames(comparison.kernel)}: ${verdictOf(findings.length)}</title>
<style>${new Html(STYLE)}</style>
</head>
<body>
${pageHeader(comparison, records, against)}
<nav><div>${sections.map(([id, title]) => html`<a href="#${id}">${title}${id === 'findings' && html` <b>${findings.length}</b>`}</a>`)}</div></nav>
<main>
${sections.map(([id, title, lead, body]) => html`<section id="${id}"><h2>${title}</h2>${lead !== '' && html`<p class="lead">${lead}</p>`}
${body}
</section>
`)}</main>
<script type="application/json" id="data">${jsonForScript(lists)}</script>
<script>${new Html(CLIENT)}</script>
</body>
</html>
`;
  return page.text;
} // biome-ignore format: markup

/** Without the folders, which say nothing about the kernel. */
const fileNames = (names: string): string => names.split(', ').map((name) => name.slice(name.lastIndexOf('/') + 1) || name).join(', '); // biome-ignore format: one line

const verdictOf = (count: number): string =>
  count === 0 ? 'no findings' : count === 1 ? '1 finding' : `${count} findings`;

function pageHeader({ kernel, findings, meeting, paths }: Comparison, records: readonly RunRecord[], against: string | undefined): Html {
  const versions = [...new Set(records.map((record) => record.kernel.version).filter((version) => version !== undefined))];
  const cmdlines = [...new Set(records.map(({ input }) => input.cmdline))];
  return html`<header class="page"><div class="brand">zeropage compare</div>
<h1 title="${kernel}">${fileNames(kernel)} <span class="verdict ${findings.length > 0 ? 'bad' : 'ok'}">${verdictOf(findings.length)}</span></h1>
<p class="lead">${versions.join(' · ')}</p>
<dl><div><dt>paths meet in</dt><dd>${meeting.meeting ?? 'no place that two of them reached'}</dd></div><div><dt>memory</dt><dd>${[...new Set(records.map(({ input }) => `${input.memory / 2 ** 20} MiB`))].join(', ')}</dd></div><div><dt>command line</dt><dd>${cmdlines.map((line) => (line === '' ? 'empty' : line)).join(' · ')}</dd></div>${against !== undefined && html`<div><dt>held against</dt><dd>${against}</dd></div>`}</dl>
<div class="scroll"><table class="paths"><thead><tr><th>path</th><th>how it ended</th><th class="num">instructions to the meeting place</th><th class="num">in all</th><th class="num">functions before</th><th>boot_params filled</th><th>names from</th><th>image</th></tr></thead><tbody>
${paths.map(({ via, exit, instructions, toMeeting, functionsBefore, kernel: image }) => html`<tr><th scope="row">${via}</th><td><span class="dot ${exit.code === 0 ? 'ok' : 'bad'}"></span>${exit.reason} <span class="quiet">exit ${exit.code}, ${exit.detail}</span></td><td class="num">${toMeeting === undefined ? html`<span class="lost">never arrived</span>` : grouped(toMeeting)}</td><td class="num">${grouped(instructions)}</td><td class="num">${grouped(functionsBefore)}</td><td>${filledBy(records, via)}</td><td>${image.symbols}</td><td>${fileNames(image.name)} <span class="quiet">${image.sha256.slice(0, 12)}${isMoved(image) && `, runs ${image.moved?.virtual} above its linked place`}</span></td></tr>
`)}</tbody></table></div></header>`;
} // biome-ignore format: markup

const isMoved = ({ moved }: RunRecord['kernel']): boolean => moved !== undefined && moved.virtual !== '0x0';

function filledBy(records: readonly RunRecord[], via: string): string {
  const by = records.find((record) => record.via === via)?.bootParamsFilledBy;
  return by === undefined || by === 'nobody' ? 'not used' : `by the ${by}`;
}

function timelineLead(meeting: string | undefined): string {
  return meeting === undefined
    ? 'From the first instruction to the end of each path, in instructions.'
    : `From the first instruction to ${meeting}, in instructions. They are exact, and the same in every run.`;
}

function functionSection(meeting: string | undefined): Html {
  return html`<div class="bar needs-script"><input type="search" id="function-search" placeholder="name, * for anything" aria-label="name of a function"><span id="function-paths" class="wishes" title="click: ran, did not run, any"></span>${early('function', meeting)}<button type="button" id="function-reset">reset</button><span id="function-count" class="quiet count"></span></div>
<div class="grid functions needs-script"><div id="function-head" class="head"></div><div id="function-list" class="list"></div></div>
<div id="function-detail" class="detail" hidden></div>
<noscript><p class="empty">The list needs the script of this page.</p></noscript>`;
} // biome-ignore format: markup

const early = (list: string, meeting: string | undefined): Html | undefined =>
  meeting === undefined
    ? undefined
    : html`<label class="check"><input type="checkbox" id="${list}-before" checked> before ${meeting} only</label>`;

function eventSection(leftOut: readonly number[], records: readonly RunRecord[], meeting: string | undefined): Html {
  const lacking = records.flatMap(({ via }, i) => (leftOut[i] > 0 ? [`${grouped(leftOut[i])} of ${via}`] : []));
  return html`<div class="bar needs-script"><select id="event-path" aria-label="path"></select><select id="event-kind" aria-label="kind"></select><input type="search" id="event-search" placeholder="register, port, value or function" aria-label="filter events">${early('event', meeting)}<span id="event-count" class="quiet count"></span></div>
${lacking.length > 0 && html`<p class="quiet">Later events are left out here: ${lacking.join(', ')}.</p>`}
<div class="grid events needs-script"><div class="head"><span class="num">instruction</span><span>path</span><span>kind</span><span>what</span><span>values</span><span>by</span></div><div id="event-list" class="list"></div></div>
<noscript><p class="empty">The list needs the script of this page.</p></noscript>`;
} // biome-ignore format: markup

const CONSOLE_CHARACTERS = 40_000;

function consoles(records: readonly RunRecord[]): Html {
  return html`${records.map(({ via, console: text }) => {
    const cut = Math.max(0, text.length - CONSOLE_CHARACTERS);
    const shown = text.slice(cut).replaceAll('\r\n', '\n');
    return html`<details class="fold"><summary>${via} <span class="quiet">${grouped(text.length)} characters${cut > 0 && `, the last ${grouped(CONSOLE_CHARACTERS)} of them`}</span></summary><pre>${shown === '' ? 'nothing' : shown}</pre></details>`;
  })}`;
} // biome-ignore format: markup
