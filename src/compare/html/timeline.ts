/** Timeline: all paths on one axis, from their entry to the place where they meet.
 *
 * Each path is a lane: its phases as bars, below them where functions ran for the first time, and those that ran on this
 * path alone. The same lanes are drawn to several scales: by instructions, by their logarithm, with each waypoint at one
 * place for all paths, and each path in full width; which is seen is a choice in the page that needs no script. Widths are
 * shares of the whole, so it fits any screen.
 * May not: measure text; a label that does not fit is cut by its bar.   Next: compare/html/handed-over.ts. */
import type { RunRecord } from '../../trace/run-record.ts';
import type { Finding } from '../findings.ts';
import { sourceName } from '../names.ts';
import { grouped, type Html, html, percent } from './markup.ts';
import { lengthOf, type Phase, phasesOf } from './phases.ts';

type Lane = {
  record: RunRecord;
  phases: Phase[];
  length: number;
  arrived: boolean;
  marks: { at: number; title: string }[];
  alone: ReadonlySet<string>;
};

type Scale = { id: string; label: string; place(at: number, lane: Lane): number };

const TICKS = 480;
const COLOURS = 10;
/** Of each path, and scale; the most important findings come first. */
const MOST_MARKS = 100;

export function timeline(records: readonly RunRecord[], meeting: string | undefined, findings: readonly Finding[]): Html {
  const lanes = records.map((record) => laneOf(record, records, meeting, findings));
  const longest = Math.max(1, ...lanes.map(({ length }) => length));
  const scales: Scale[] = [
    { id: 'linear', label: 'linear', place: (at) => at / longest },
    { id: 'log', label: 'logarithmic', place: (at) => Math.log10(1 + at) / Math.log10(1 + longest) },
    { id: 'steps', label: 'waypoint by waypoint', place: stepByStep(lanes) },
    { id: 'full', label: 'each path in full width', place: (at, { length }) => at / Math.max(1, length) },
  ];
  // Phases of paths of very different length (one unpacks itself, for another it was done) would be slivers otherwise.
  const shortest = Math.min(...lanes.map(({ length }) => length));
  const first = longest / Math.max(1, shortest) > 8 ? 'steps' : 'linear';
  const colours = new Map<string, number>();
  for (const { phases } of lanes) {
    for (const { name } of phases) if (!colours.has(name)) colours.set(name, colours.size % COLOURS);
  }
  return html`<div class="timeline">
${scales.map(({ id }) => html`<input type="radio" name="scale" id="scale-${id}" class="pick"${id === first ? html` checked` : ''}>`)}
<div class="bar"><span class="quiet">Axis:</span> <span class="tabs">${scales.map(({ id, label }) => html`<label for="scale-${id}">${label}</label>`)}</span>
<span class="legend"><i class="key fresh"></i> functions running for the first time <i class="key alone"></i> on this path only <i class="key mark"></i> evidence of a finding</span></div>
${scales.map((scale) => drawing(scale, lanes, longest, colours, meeting))}
</div>
${phaseTables(lanes, meeting, colours)}`;
} // biome-ignore format: markup

function laneOf(record: RunRecord, all: readonly RunRecord[], meeting: string | undefined, findings: readonly Finding[]): Lane {
  const { via } = record;
  const elsewhere = new Set(all.filter((other) => other !== record).flatMap(({ functions }) => functions.map(({ name }) => sourceName(name))));
  const alone = new Set(record.functions.map(({ name }) => sourceName(name)).filter((name) => all.length > 1 && !elsewhere.has(name)));
  const marks = findings.flatMap(({ title, evidence }) =>
    evidence.flatMap(({ path, at, text }) => (path === via && at !== undefined ? [{ at, title: `${title}\n${text}` }] : [])),
  );
  const length = lengthOf(record, meeting);
  const arrived = record.waypoints.some(({ name }) => name === meeting);
  return { record, phases: phasesOf(record, meeting), length, arrived, marks: marks.filter(({ at }) => at <= length).slice(0, MOST_MARKS), alone };
} // biome-ignore format: one line per thought

/** Every waypoint has one place for all paths, and the places have equal distances. */
function stepByStep(lanes: readonly Lane[]): Scale['place'] {
  const order: string[] = [];
  for (const { phases } of lanes) {
    let at = 0;
    for (const name of stopsOf(phases)) {
      const known = order.indexOf(name);
      if (known < 0) order.splice(at++, 0, name);
      else at = known + 1;
    }
  }
  return (at, { phases }) => {
    const phase = phases.findLast((each) => at >= each.at);
    if (phase === undefined) return 0;
    const [from, to] = [phase.at === 0 ? 0 : order.indexOf(phase.name), order.indexOf(phase.next)];
    return (from + (to - from) * Math.min(1, (at - phase.at) / Math.max(1, phase.length))) / (order.length - 1);
  };
}

/** The first waypoint is where all begin, whatever it is called. */
function stopsOf(phases: readonly Phase[]): string[] {
  return phases.length === 0 ? [] : ['', ...phases.map(({ next }) => next)];
}

function drawing(scale: Scale, lanes: readonly Lane[], longest: number, colours: ReadonlyMap<string, number>, meeting: string | undefined): Html {
  return html`<div class="drawing on-${scale.id}" role="img" aria-label="Timeline of the paths, ${scale.label}">
${lanes.map((lane) => html`<div class="who"><b>${lane.record.via}</b><span>${grouped(lane.length)}</span></div>
<svg class="lane" height="62">${lane.phases.map((phase) => bar(phase, lane, scale, colours))}${ticks(lane, scale)}${lane.marks.map(({ at, title }) => mark(at, title, lane, scale))}${goal(lane, scale, meeting)}</svg>`)}
<div class="who"><span class="quiet">instructions</span></div>${axis(scale, longest)}
</div>`;
} // biome-ignore format: markup

function bar(phase: Phase, lane: Lane, scale: Scale, colours: ReadonlyMap<string, number>): Html {
  const [from, to] = [scale.place(phase.at, lane), scale.place(phase.at + phase.length, lane)];
  const share = percent(phase.length, lane.length);
  const top = phase.top.map(({ name, count }) => `${name} ×${grouped(count)}`).join(', ');
  const title = `${phase.name} → ${phase.next}\n${grouped(phase.length)} instructions (${share}), from ${grouped(phase.at)}\n${grouped(phase.fresh)} functions for the first time${top && `\nmost entered: ${top}`}`;
  return html`<svg x="${percent(from, 1)}" y="0" width="${percent(to - from, 1)}" height="38" class="phase c${colours.get(phase.name)}"><title>${title}</title><rect width="100%" height="38" rx="3"/><text x="7" y="16" class="name">${phase.name}</text><text x="7" y="31">${grouped(phase.length)}</text></svg>`;
} // biome-ignore format: markup

/** First entries in columns: as many as a wide screen can show. A column is the darker, the more functions it stands for. */
function ticks(lane: Lane, scale: Scale): Html {
  const columns = new Map<number, { all: number; alone: number }>();
  for (const { name, first } of lane.record.functions) {
    if (first > lane.length) continue;
    const column = Math.min(TICKS - 1, Math.floor(scale.place(first, lane) * TICKS));
    const there = columns.get(column) ?? { all: 0, alone: 0 };
    there.all++;
    if (lane.alone.has(sourceName(name))) there.alone++;
    columns.set(column, there);
  }
  const strip = (y: number, kind: 'all' | 'alone') =>
    [...columns].filter(([, n]) => n[kind] > 0).map(([column, n]) => html`<rect class="tick ${kind}" x="${percent(column, TICKS)}" y="${y}" width="${percent(1, TICKS)}" height="7" opacity="${strength(n[kind])}"/>`); // biome-ignore format: one line
  return html`${strip(43, 'all')}${strip(52, 'alone')}`;
}

const strength = (count: number): number => (count > 15 ? 1 : count > 4 ? 0.75 : 0.45);

function mark(at: number, title: string, lane: Lane, scale: Scale): Html {
  return html`<svg x="${percent(scale.place(at, lane), 1)}" y="36" width="14" height="14" overflow="visible"><path class="mark" d="M0 0l5 8h-10z"><title>${title} (at ${grouped(at)})</title></path></svg>`; // biome-ignore format: one line
}

/** Where the lane ends: at the meeting place, or before it. */
function goal(lane: Lane, scale: Scale, meeting: string | undefined): Html {
  const x = percent(scale.place(lane.length, lane), 1);
  const what = lane.arrived
    ? `${meeting} at ${grouped(lane.length)}`
    : `ended without arriving: ${lane.record.exit.detail}`;
  return html`<line class="goal ${lane.arrived ? 'met' : 'lost'}" x1="${x}" x2="${x}" y1="0" y2="60"><title>${what}</title></line>`; // biome-ignore format: one line
}

function axis(scale: Scale, longest: number): Html {
  if (scale.id === 'full') {
    const shares = [0, 25, 50, 75, 100];
    return html`<svg class="axis" height="22">${shares.map((share) => label(share / 100, `${share} %`))}</svg>`;
  }
  if (scale.id === 'steps')
    return html`<svg class="axis" height="22"><text x="0" y="16">widths say nothing here; numbers do</text></svg>`;
  const stops: number[] = [0];
  if (scale.id === 'log') for (let at = 10; at <= longest; at *= 10) stops.push(at);
  else for (let at = step(longest); at <= longest; at += step(longest)) stops.push(at);
  const lane = {} as Lane; // these scales do not look at it
  return html`<svg class="axis" height="22">${stops.map((at) => label(scale.place(at, lane), short(at)))}</svg>`;
}

function label(share: number, text: string): Html {
  const anchor = share > 0.96 ? 'end' : share < 0.02 ? 'start' : 'middle';
  const x = percent(share, 1);
  return html`<line x1="${x}" x2="${x}" y1="0" y2="5"/><text x="${x}" y="18" text-anchor="${anchor}">${text}</text>`;
}

/** 1, 2 or 5 times a power of ten, so that there are five to ten. */
function step(longest: number): number {
  const power = 10 ** Math.floor(Math.log10(longest / 5 || 1));
  return Math.max(1, [1, 2, 5, 10].map((n) => n * power).find((n) => longest / n <= 10) ?? power * 10);
}

const short = (at: number): string =>
  at >= 1e9 ? `${at / 1e9} G` : at >= 1e6 ? `${at / 1e6} M` : at >= 1e3 ? `${at / 1e3} k` : String(at);

function phaseTables(lanes: readonly Lane[], meeting: string | undefined, colours: ReadonlyMap<string, number>): Html {
  return html`<details class="fold"><summary>Phases by number</summary>
<div class="scroll"><table class="phases"><thead><tr><th>Path and phase</th><th class="num">begins at</th><th class="num">instructions</th><th>share</th><th class="num">new functions</th><th>entered most</th></tr></thead>
${lanes.map((lane) => html`<tbody><tr class="group"><th scope="rowgroup">${lane.record.via}</th><td class="num">0</td><td class="num">${grouped(lane.length)}</td><td></td><td class="num">${grouped(lane.phases.reduce((sum, { fresh }) => sum + fresh, 0))}</td><td class="quiet">${lane.arrived ? `to ${meeting}` : 'to its end'}; in all ${grouped(lane.record.instructions)} instructions, then: ${lane.record.exit.detail}</td></tr>
${lane.phases.map((phase) => html`<tr><td><i class="key c${colours.get(phase.name)}"></i> ${phase.name}</td><td class="num">${grouped(phase.at)}</td><td class="num">${grouped(phase.length)}</td><td><span class="share"><i class="c${colours.get(phase.name)}" style="width:${percent(phase.length, lane.length)}"></i></span></td><td class="num">${grouped(phase.fresh)}</td><td class="names">${phase.top.map(({ name, count }) => html`<span>${name} <i>×${grouped(count)}</i></span> `)}</td></tr>`)}</tbody>`)}
</table></div></details>`;
} // biome-ignore format: markup
