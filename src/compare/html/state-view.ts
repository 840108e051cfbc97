/** The state where the paths meet, side by side.
 *
 * Differences without a reason stand out, those with one are grey and carry it, equal rows can be hidden. A path that never
 * arrived has an empty column that says so.
 * May not: judge; compare/html/state-rows.ts did.   Next: compare/html/findings-view.ts. */
import type { RunRecord } from '../../trace/run-record.ts';
import { movedBy } from '../state.ts';
import { type HandedOver, handoverRows, REST } from './handed-over.ts';
import { type Html, html } from './markup.ts';
import { type Cell, type PathState, type StateRow, type StateSection, stateSections } from './state-rows.ts';

export function stateView(records: readonly RunRecord[], meeting: string | undefined): Html {
  const paths = records.map((record) => ({
    via: record.via,
    sha256: record.kernel.sha256,
    moved: movedBy(record),
    state: record.waypoints.find(({ name }) => name === meeting)?.state,
  }));
  if (paths.every(({ state }) => state === undefined)) {
    return html`<p class="empty">No path came to a place where the state was captured.</p>`;
  }
  const sections = stateSections(paths);
  const count = (kind: StateRow['kind']) =>
    sections.reduce((sum, { rows }) => sum + rows.filter((row) => row.kind === kind).length, 0);
  return html`<div class="state">
<input type="checkbox" class="pick" id="hide-same" checked><input type="checkbox" class="pick" id="hide-legit">
<div class="bar"><label for="hide-same" class="toggle hide-same">hide ${count('same')} equal fields</label><label for="hide-legit" class="toggle hide-legit">hide ${count('legitimate')} legitimate differences</label><input type="search" id="state-filter" placeholder="filter fields and values" aria-label="filter fields" class="needs-script"><span class="legend"><i class="key differs"></i> ${count('differs')} without a known reason <i class="key legit"></i> legitimate</span></div>
${sections.map((section) => sectionView(section, paths))}
</div>`; // biome-ignore format: markup
}

function sectionView({ id, title, note, rows }: StateSection, paths: readonly PathState[]): Html {
  const told = new Set<string | undefined>();
  const differing = rows.filter(({ kind }) => kind === 'differs').length;
  const legitimate = rows.filter(({ kind }) => kind === 'legitimate').length;
  const quiet = differing + legitimate === 0;
  const summary = quiet
    ? 'equal'
    : [
        differing > 0 && `${differing} ${differing === 1 ? 'differs' : 'differ'}`,
        legitimate > 0 && `${legitimate} legitimate`,
      ]
        .filter(Boolean)
        .join(', ');
  const open = differing > 0 || ['mode', 'object-boot_params', 'object-pv_ops'].includes(id);
  return html`<details class="fold section${quiet ? ' quiet-section' : ''}"${open ? html` open` : ''}><summary>${title}<span class="quiet">${note !== undefined && html`${note} · `}${rows.length} ${rows.length === 1 ? 'field' : 'fields'} · <b class="${differing > 0 ? 'differs' : ''}">${summary}</b></span></summary>
<div class="scroll"><table class="side"><thead><tr><th>field</th>${paths.map(({ via, state }) => html`<th>${via}${state === undefined ? html` <span class="lost">never arrived</span>` : ''}</th>`)}<th>why</th></tr></thead><tbody>
${rows.map((row) => html`<tr class="${row.kind}"><th scope="row">${row.field}</th>${row.cells.map((cell, i) => cellView(cell, paths[i], row, majority(row.cells)))}${whyView(row, told)}</tr>
`)}</tbody></table></div></details>`; // biome-ignore format: markup
}

/** A reason that was given already takes one line, so that long tables stay short. */
function whyView({ because = '' }: StateRow, told: Set<string | undefined>): Html {
  if (because === '' || !told.has(because)) {
    told.add(because);
    return html`<td class="why">${because}</td>`;
  }
  return html`<td class="why again" title="${because}">${because}</td>`;
}

/** Of a row that differs, the value of the odd ones is marked. */
function majority(cells: readonly Cell[]): string | undefined {
  const counts = new Map<string, number>();
  for (const cell of cells) if (cell) counts.set(keyOf(cell), (counts.get(keyOf(cell)) ?? 0) + 1);
  const [first, second] = [...counts].sort((a, b) => b[1] - a[1]);
  return first && (second === undefined || first[1] > second[1]) ? first[0] : undefined;
}
const keyOf = (cell: NonNullable<Cell>): string => cell.symbol ?? cell.text;

function cellView(cell: Cell, { state }: PathState, row: StateRow, most: string | undefined): Html {
  if (state === undefined) return html`<td class="none"></td>`;
  if (cell === undefined) return html`<td class="none">–</td>`;
  const odd = row.kind !== 'same' && keyOf(cell) !== most;
  const text = cell.symbol === undefined ? html`${cell.text}` : html`<b>${cell.symbol}</b> <i>${cell.text}</i>`;
  return html`<td${odd && html` class="odd"`}${cell.symbol !== undefined && html` title="${cell.text}"`}>${text}</td>`;
}

/** Zero page against start_info: what the loaders handed over. Nothing when nobody told. */
export function handoverView(pages: readonly HandedOver[]): Html | undefined {
  if (pages.length === 0) return undefined;
  return html`<div class="scroll"><table class="side handover"><thead><tr><th></th>${pages.map(({ via, struct }) => html`<th>${via} <span class="quiet">${struct}</span></th>`)}</tr></thead><tbody>
${handoverRows(pages).map(({ what, cells }) => html`<tr><th scope="row">${what}</th>${cells.map((fields) => html`<td>${fields.length === 0 ? html`<span class="none">nothing</span>` : foldedFields(fields, what !== REST)}</td>`)}</tr>
`)}</tbody></table></div>`; // biome-ignore format: markup
}

const SHOWN = 8;
const SHORT = 22;

function foldedFields(fields: readonly { name: string; value: string; meaning?: string }[], all: boolean): Html {
  const lines = fields.map(({ name, value, meaning = '' }) => html`<div class="pair" title="${meaning}"><span>${name}</span> <b>${value}</b>${meaning !== '' && meaning.length <= SHORT && html` <i>${meaning}</i>`}</div>`); // biome-ignore format: one line
  if (all && lines.length <= SHOWN) return html`${lines}`;
  const shown = all ? SHOWN : 0;
  return html`${lines.slice(0, shown)}<details><summary>${lines.length - shown} ${all ? 'more' : 'fields'}</summary>${lines.slice(shown)}</details>`;
}
