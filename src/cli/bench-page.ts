/** The page of `bench loaders`: what each path costs its host and its guest, as bars on common axes.
 *
 * One file that needs nothing but itself. Bars of one chart have one scale: linear where all paths are of one size, and a
 * second time by the logarithm where one unpacks itself and would make the others a hairline. A colour is one step or
 * one waypoint throughout a chart. What was stored and has become dearer stands first.
 * May not: measure.   Next: cli/bench-boot.ts. */
import { grouped, Html, html, percent } from '../compare/html/markup.ts';
import { STYLE } from '../compare/html/style.ts';
import type { LoaderRow, LoaderTimes } from './bench-loaders.ts';
import type { Dearer } from './bench-waypoints.ts';

export type LoadersPage = {
  machine: string;
  rounds: number;
  memory: string;
  rows: readonly LoaderRow[];
  /** Undefined when nothing was held against a stored run. */
  against?: { file: string; dearer: readonly Dearer[] };
};

type Part = { name: string; value: number; title: string };
type Bar = { path: string; parts: Part[] };

const STEPS: readonly (keyof LoaderTimes)[] = ['read', 'parse', 'unpack', 'tables', 'place'];
const COLOURS = 10;
/** Where the longest bar is so many times the shortest, a linear scale shows nothing of the latter. */
const FAR_APART = 8;

export function loadersPage({ machine, rounds, memory, rows, against }: LoadersPage): string {
  const kernels = [...new Set(rows.map(({ kernel }) => kernel))];
  const page = html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>bench loaders: ${kernels.join(', ')}</title>
<style>${new Html(STYLE + OWN_STYLE)}</style>
</head>
<body>
<header class="page"><div class="brand">zeropage bench loaders</div><h1>What each entry path costs${against && verdict(against.dearer)}</h1>
<p class="lead">${machine}; ${rounds === 1 ? 'one round' : `medians of ${rounds} rounds`}; ${memory} of memory. Instructions are exact and the same on every computer, milliseconds are those of this one.</p></header>
<main>
${against && dearerSection(against)}
${kernels.map((kernel) => kernelSection(kernel, rows.filter((row) => row.kernel === kernel)))}
</main>
</body>
</html>
`;
  return page.text;
} // biome-ignore format: markup

const verdict = (dearer: readonly Dearer[]): Html =>
  dearer.length > 0
    ? html` <span class="verdict bad">${dearer.length} dearer</span>`
    : html` <span class="verdict ok">nothing dearer</span>`;

function dearerSection({ file, dearer }: NonNullable<LoadersPage['against']>): Html | undefined {
  if (dearer.length === 0) return undefined;
  return html`<section><h2>Dearer than in ${file}</h2>
<div class="scroll"><table><thead><tr><th>kernel</th><th>path</th><th>what</th><th class="num">stored</th><th class="num">now</th><th class="num">more by</th></tr></thead><tbody>
${dearer.map(({ kernel, path, what, before, now }) => html`<tr><td>${kernel}</td><td>${path}</td><td>${what}</td><td class="num">${grouped(before)}</td><td class="num">${now === undefined ? 'not reached' : grouped(now)}</td><td class="num lost">${now !== undefined && `${(((now - before) / before) * 100).toFixed(2)} %`}</td></tr>`)}
</tbody></table></div></section>`;
} // biome-ignore format: markup

function kernelSection(kernel: string, rows: readonly LoaderRow[]): Html {
  const guests = rows.filter(({ waypoints }) => (waypoints?.length ?? 0) > 0);
  const toGo = guests.map(({ path, waypoints = [] }): Bar => {
    const parts = waypoints.map(({ name, instructions, top }, i) => {
      const value = instructions - (waypoints[i - 1]?.instructions ?? 0);
      const most = top.map((each) => `${each.name} ${(each.part * 100).toFixed(0)} %`).join(', ');
      return { name, value, title: `to ${name}: ${grouped(value)} instructions${most && `\n${most}`}` };
    });
    return { path, parts: parts.filter(({ value }) => value > 0) };
  });
  const host = rows.map(({ path, milliseconds, waypoints = [] }): Bar => {
    const run = waypoints.reduce((sum, { hostMilliseconds }) => sum + hostMilliseconds, 0);
    const steps: [string, number][] = [...STEPS.map((step) => [step, milliseconds[step] ?? 0] as [string, number]), ['guest', run]]; // biome-ignore format: one line
    const parts = steps.map(([name, value]) => ({ name, value, title: `${name}: ${value.toFixed(2)} ms` }));
    return { path, parts: parts.filter(({ value }) => value > 0) };
  });
  return html`<section><h2>${kernel}</h2>
${guests.length > 0 && html`<h3>Instructions of the guest to start_kernel</h3><p class="quiet">Each part ends at the waypoint that it is named after.</p>${chart(toGo, (value) => grouped(Math.round(value)))}`}
<h3>Milliseconds of the host</h3>${chart(host, (value) => `${value.toFixed(value < 10 ? 2 : 1)} ms`)}
${guests.length > 0 && html`<h3>Where the instructions go</h3>${waypointTable(guests)}`}
<h3>What the loaders write</h3>${loaderTable(rows)}
</section>`;
} // biome-ignore format: markup

function chart(bars: readonly Bar[], say: (value: number) => string): Html {
  const total = ({ parts }: Bar) => parts.reduce((sum, { value }) => sum + value, 0);
  const totals = bars.map(total);
  const longest = Math.max(...totals, 0);
  const shortest = Math.min(...totals.filter((value) => value > 0), longest);
  const names = [...new Set(bars.flatMap(({ parts }) => parts.map(({ name }) => name)))];
  const scales: [string, (at: number) => number][] = [['', (at) => at / longest]];
  if (longest > FAR_APART * shortest) {
    scales.push([' (logarithmic)', (at) => Math.log10(1 + at) / Math.log10(1 + longest)]);
  }
  return html`<p class="keys">${names.map((name, i) => html`<span><i class="key c${i % COLOURS}"></i>${name}</span>`)}</p>
${scales.map(([scale, place]) => html`<div class="bars" role="img" aria-label="bars${scale}">${scale && html`<p class="quiet">the same by logarithm</p>`}
${bars.map((bar, i) => html`<b>${bar.path}</b><svg height="22">${drawn(bar, place, names)}</svg><span class="num">${say(totals[i])}</span>`)}</div>`)}`;
} // biome-ignore format: markup

function drawn({ parts }: Bar, place: (at: number) => number, names: readonly string[]): Html[] {
  let at = 0;
  return parts.map(({ name, value, title }) => {
    const [from, to] = [place(at), place(at + value)];
    at += value;
    return html`<svg class="phase c${names.indexOf(name) % COLOURS}" x="${percent(from, 1)}" width="${percent(to - from, 1)}" height="22"><title>${title}</title><rect width="100%" height="22"></rect><text x="5" y="15">${name}</text></svg>`;
  });
} // biome-ignore format: markup

function waypointTable(rows: readonly LoaderRow[]): Html {
  return html`<div class="scroll"><table class="phases"><thead><tr><th>path</th><th>waypoint</th><th class="num">instructions</th><th class="num">virtual ms</th><th class="num">host ms</th><th>most of them in</th></tr></thead><tbody>
${rows.map(({ path, waypoints = [] }) => waypoints.map(({ name, instructions, virtualTimeNs, hostMilliseconds, top }, i) => html`<tr${i === 0 ? html` class="group"` : ''}><th>${i === 0 && path}</th><td>${name}</td><td class="num">${grouped(instructions)}</td><td class="num">${(virtualTimeNs / 1e6).toFixed(3)}</td><td class="num">${hostMilliseconds.toFixed(1)}</td><td class="names">${top.map((each) => html`<span>${each.name} <i>${(each.part * 100).toFixed(0)} %</i></span>`)}</td></tr>`))}
</tbody></table></div>`;
} // biome-ignore format: markup

function loaderTable(rows: readonly LoaderRow[]): Html {
  return html`<div class="scroll"><table><thead><tr><th>path</th><th class="num">bytes written</th><th class="num">frames touched</th><th class="num">plain copy, ms</th><th class="num">place/copy</th></tr></thead><tbody>
${rows.map(({ path, bytesWritten, framesTouched, milliseconds, placeToCopy }) => html`<tr><th>${path}</th><td class="num">${grouped(bytesWritten)}</td><td class="num">${grouped(framesTouched)}</td><td class="num">${milliseconds.copy.toFixed(2)}</td><td class="num">${placeToCopy.toFixed(2)}×</td></tr>`)}
</tbody></table></div>`;
} // biome-ignore format: markup

const OWN_STYLE = `
h3{margin-top:26px}
.keys{display:flex;flex-wrap:wrap;gap:4px 10px;max-width:none;color:var(--quiet);font-size:12px}
.bars{display:grid;grid-template-columns:max-content minmax(0,1fr) max-content;gap:6px 14px;align-items:center;margin:8px 0 14px}
.bars p{grid-column:1/-1;margin:6px 0 0}
.bars b{font:600 12px/1 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;text-align:right}
.bars .num{font:12px/1 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
.bars>svg{background:var(--raised);border-radius:3px}
`;
