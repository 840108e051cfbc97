/** Findings as cards: what is wrong, on which paths, why it matters, and what shows it.
 *
 * Notes have the same form and stand below, folded. A function that a finding is about leads to its row in the list.
 * May not: order them; they come most important first.   Next: compare/html/lists.ts. */
import { type Evidence, type Finding, type FindingKind, KIND_MEANINGS } from '../findings.ts';
import { grouped, type Html, html } from './markup.ts';

/** A page is for reading; whoever wants all of thousands takes --json. */
const MOST_FINDINGS = 250;
/** Seen at once, and in all. */
const MOST_EVIDENCE = 8;
const ALL_EVIDENCE = 60;

export function findingsView(findings: readonly Finding[], notes: readonly Finding[], isFunction: (name: string) => boolean): Html {
  const kinds = new Map<FindingKind, number>();
  for (const { kind } of findings) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  return html`${findings.length === 0 ? html`<p class="good"><b>No findings.</b> What differs between the paths has a known reason.</p>` : html`<p class="kinds">${[...kinds].map(([kind, count]) => html`<span title="${KIND_MEANINGS[kind]}"><i class="badge ${classOf(kind)}">${kind}</i> ${count}</span>`)}</p>`}
<div class="cards">${findings.slice(0, MOST_FINDINGS).map((finding) => card(finding, isFunction))}</div>
${rest(findings)}${notes.length > 0 && html`<details class="fold"><summary>${notes.length} ${notes.length === 1 ? 'note' : 'notes'} <span class="quiet">good to know, and no harm</span></summary><div class="cards">${notes.slice(0, MOST_FINDINGS).map((note) => card(note, isFunction))}</div>${rest(notes)}</details>`}`;
} // biome-ignore format: markup

const rest = ({ length }: readonly Finding[]): Html | undefined => length > MOST_FINDINGS ? html`<p class="empty">and ${grouped(length - MOST_FINDINGS)} more, which --json has</p>` : undefined; // biome-ignore format: one line

const classOf = (kind: FindingKind): string => `kind-${kind.replace(/[^a-z]/g, '-')}`;

function card({ id, kind, title, paths, why, subject, waypoint, evidence }: Finding, isFunction: (name: string) => boolean): Html {
  const [shown, more] = [evidence.slice(0, MOST_EVIDENCE), evidence.slice(MOST_EVIDENCE, ALL_EVIDENCE)];
  const timed = evidence.some(({ at }) => at !== undefined);
  return html`<article class="finding ${classOf(kind)}" id="${anchorOf(id)}">
<header><i class="badge ${classOf(kind)}" title="${KIND_MEANINGS[kind]}">${kind}</i>${paths.map((path) => html`<span class="chip">${path}</span>`)}<span class="id">${id}</span></header>
<h3>${title}</h3>
${why !== undefined && html`<p>${why}</p>`}
${evidence.length > 0 && html`<div class="scroll"><table class="evidence"><thead><tr><th>path</th>${timed && html`<th class="num">instruction</th>`}<th>what shows it</th></tr></thead><tbody>${shown.map((each) => line(each, timed))}</tbody></table></div>`}
${more.length > 0 && html`<details class="more"><summary>${grouped(evidence.length - shown.length)} more${evidence.length > ALL_EVIDENCE && `, the first ${more.length} of them`}</summary><table class="evidence"><tbody>${more.map((each) => line(each, timed))}</tbody></table></details>`}
${(waypoint !== undefined || isFunction(subject)) && html`<footer>${waypoint !== undefined && html`<span>looked at ${waypoint}</span>`}${isFunction(subject) && html`<a href="#functions" data-find="${subject}" class="needs-script">${subject} in the list of functions</a>`}</footer>`}
</article>
`;
} // biome-ignore format: markup

function line({ path, text, at }: Evidence, timed: boolean): Html {
  return html`<tr><td class="path">${path}</td>${timed && html`<td class="num">${at === undefined ? '' : grouped(at)}</td>`}<td>${text}</td></tr>`; // biome-ignore format: one line
}

/** An id can be any text; an anchor has letters, digits and dashes. */
function anchorOf(id: string): string {
  return `finding-${id.replace(/[^A-Za-z0-9_.-]/g, '-').slice(0, 200)}`;
}
