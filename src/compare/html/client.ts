/** The page's script: the two long lists, and the filters.
 *
 * It is plain JavaScript in a string, so that the page is the same whoever built the program. Lists have rows of one height;
 * only those in sight exist. Whatever it shows it sets as text, never as markup. Without it everything but the lists can be
 * read.
 * May not: fetch, store or remember anything.   Next: compare/html.ts. */

export const CLIENT = String.raw`'use strict';
(() => {
const data = JSON.parse(document.getElementById('data').textContent);
const $ = (id) => document.getElementById(id);
const el = (tag, cls, text) => {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  if (text !== undefined) node.textContent = text;
  return node;
};
const grouped = (n) => String(n).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
document.documentElement.classList.add('script');

/* A search text fits anywhere in a name; with * it has to fit all of it. */
function matcher(text) {
  const wanted = text.trim().toLowerCase();
  if (wanted === '') return () => true;
  if (!wanted.includes('*')) return (name) => name.toLowerCase().includes(wanted);
  const parts = wanted.split('*');
  return (name) => {
    const low = name.toLowerCase();
    if (!low.startsWith(parts[0])) return false;
    let at = parts[0].length;
    for (const part of parts.slice(1, -1)) {
      const found = low.indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    const last = parts[parts.length - 1];
    return low.length - last.length >= at && low.endsWith(last);
  };
}

/* A window of rows over a list of any length. */
function list(root, height, render) {
  const space = el('div', 'space');
  root.append(space);
  let rows = [];
  let from = -1;
  let to = -1;
  const draw = (anew) => {
    const a = Math.max(0, Math.floor(root.scrollTop / height) - 8);
    const b = Math.min(rows.length, Math.ceil((root.scrollTop + root.clientHeight) / height) + 8);
    if (!anew && a === from && b === to) return;
    from = a;
    to = b;
    const nodes = [];
    for (let i = a; i < b; i++) {
      const node = render(rows[i]);
      node.style.top = i * height + 'px';
      if (i % 2) node.classList.add('odd-row');
      nodes.push(node);
    }
    space.replaceChildren(...nodes);
  };
  root.addEventListener('scroll', () => draw(false), { passive: true });
  window.addEventListener('resize', () => draw(false));
  return (next, keep) => {
    rows = next;
    space.style.height = rows.length * height + 'px';
    if (!keep) root.scrollTop = 0;
    draw(true);
  };
}

const count = (n, of, what) => grouped(n) + (n === of ? '' : ' of ' + grouped(of)) + ' ' + what;
function later(run) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(run, 60);
  };
}

/* Functions. */
(() => {
  const root = $('function-list');
  if (!root) return;
  const paths = data.paths;
  const wish = paths.map(() => 0);
  let order = { column: 0, down: false };
  const early = $('function-before');
  const ran = (row, i) => row[i + 1] !== 0 && (!early || !early.checked || row[i + 1][2] > 0);
  let chosen = null;
  const show = list(root, 24, (row) => {
    const node = el('div', 'row' + (row === chosen ? ' chosen' : ''));
    node.tabIndex = 0;
    const name = el('span', 'name', row[0]);
    name.title = row[0];
    node.append(name);
    let caller = '';
    paths.forEach((_, i) => {
      if (!ran(row, i)) {
        node.append(el('span', 'num none', '–'), el('span', 'num none', ''));
        return;
      }
      const [first, all, before, by] = row[i + 1];
      if (caller === '') caller = data.texts[by];
      node.append(el('span', 'num', grouped(first)), el('span', 'num times', '×' + grouped(early && early.checked ? before : all)));
    });
    const by = el('span', 'name', caller);
    by.title = caller;
    node.append(by);
    const open = () => {
      chosen = chosen === row ? null : row;
      detail();
      show(rows, true);
    };
    node.addEventListener('click', open);
    node.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') open();
    });
    return node;
  });
  let rows = [];
  function detail() {
    const box = $('function-detail');
    box.replaceChildren();
    box.hidden = chosen === null;
    if (chosen === null) return;
    box.append(el('h4', '', chosen[0]));
    const table = el('table');
    const head = el('tr');
    for (const text of ['path', 'first entry', 'called from', 'entries', data.meeting ? 'before ' + data.meeting : 'before its end']) head.append(el('th', '', text));
    table.append(head);
    paths.forEach((path, i) => {
      const line = el('tr');
      const run = chosen[i + 1];
      const texts = run === 0 ? [path, 'never ran', '', '', ''] : [path, grouped(run[0]), data.texts[run[3]] || 'not by a call', grouped(run[1]), grouped(run[2])];
      for (const text of texts) line.append(el('td', '', text));
      table.append(line);
    });
    box.append(table);
  }
  const key = (row, i) => (row[i + 1] === 0 ? Infinity : row[i + 1][0]);
  function compare(a, b) {
    const c = order.column;
    if (c === 0) {
      for (let i = 0; i < paths.length; i++) {
        const [x, y] = [key(a, i), key(b, i)];
        if (x !== y) return x < y ? -1 : 1;
      }
      return 0;
    }
    if (c === 1) return a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0;
    const i = (c - 2) >> 1;
    const times = (row) => (ran(row, i) ? row[i + 1][early && early.checked ? 2 : 1] : -1);
    const [x, y] = c % 2 === 0 ? [key(a, i), key(b, i)] : [-times(a), -times(b)];
    return x === y ? 0 : x < y ? -1 : 1;
  }
  function update() {
    const fits = matcher($('function-search').value);
    rows = data.functions.filter((row) => {
      let any = false;
      for (let i = 0; i < paths.length; i++) {
        const here = ran(row, i);
        if (here ? wish[i] === 2 : wish[i] === 1) return false;
        any = any || here;
      }
      return any && fits(row[0]);
    });
    rows.sort(compare);
    if (order.down) rows.reverse();
    show(rows, false);
    $('function-count').textContent = count(rows.length, data.functions.length, 'functions');
  }
  const head = $('function-head');
  const titles = [['function', 1], ...paths.flatMap((path, i) => [[path, 2 + 2 * i], ['×', 3 + 2 * i]]), ['first called from', 0]];
  for (const [text, column] of titles) {
    const button = el('button', column >= 2 ? 'num' : '', text);
    button.type = 'button';
    button.title = column === 0 ? 'back to the order of first entries' : column === 1 ? 'sort by name' : column % 2 ? 'sort by entries' : 'sort by first entry, in instructions';
    button.addEventListener('click', () => {
      order = { column, down: order.column === column && column !== 0 && !order.down };
      for (const other of head.children) other.removeAttribute('aria-sort');
      if (column !== 0) button.setAttribute('aria-sort', order.down ? 'descending' : 'ascending');
      update();
    });
    head.append(button);
  }
  for (const node of [root, head]) node.style.setProperty('--paths', String(paths.length));
  const words = ['any', 'ran', 'did not run'];
  const buttons = paths.map((path, i) => {
    const button = el('button', 'wish');
    button.type = 'button';
    const label = () => {
      button.replaceChildren(el('b', '', path), document.createTextNode(' ' + words[wish[i]]));
      button.dataset.wish = String(wish[i]);
    };
    button.addEventListener('click', () => {
      wish[i] = (wish[i] + 1) % 3;
      label();
      update();
    });
    label();
    $('function-paths').append(button);
    return label;
  });
  $('function-search').addEventListener('input', later(update));
  if (early) early.addEventListener('change', update);
  $('function-reset').addEventListener('click', () => {
    wish.fill(0);
    for (const label of buttons) label();
    $('function-search').value = '';
    update();
  });
  document.addEventListener('click', (event) => {
    const link = event.target.closest && event.target.closest('[data-find]');
    if (!link) return;
    wish.fill(0);
    for (const label of buttons) label();
    $('function-search').value = link.dataset.find;
    if (early) early.checked = false;
    update();
    chosen = rows.find((row) => row[0] === link.dataset.find) || null;
    detail();
    show(rows, true);
  });
  update();
})();

/* Events. */
(() => {
  const root = $('event-list');
  if (!root) return;
  const early = $('event-before');
  const kinds = [...new Set(data.events.map((event) => event[2]))].sort((a, b) => (data.texts[a] < data.texts[b] ? -1 : 1));
  const choices = (select, texts) => texts.forEach(([value, text]) => {
    const option = el('option', '', text);
    option.value = value;
    select.append(option);
  });
  choices($('event-path'), [['', 'every path'], ...data.paths.map((path, i) => [String(i), path])]);
  choices($('event-kind'), [['', 'every kind'], ...kinds.map((kind) => [String(kind), data.texts[kind]])]);
  if (data.paths.length > 0) $('event-path').value = '0';
  const show = list(root, 24, ([path, at, kind, what, where, values]) => {
    const node = el('div', 'row');
    node.append(el('span', 'num', grouped(at)), el('span', 'quiet', data.paths[path]), el('span', '', data.texts[kind]), el('span', 'name', data.texts[what]));
    for (const text of [values, data.texts[where]]) {
      const cell = el('span', 'name', text);
      cell.title = text;
      node.append(cell);
    }
    return node;
  });
  function update() {
    const path = $('event-path').value;
    const kind = $('event-kind').value;
    const fits = matcher($('event-search').value);
    const rows = data.events.filter((event) =>
      (path === '' || event[0] === Number(path)) && (kind === '' || event[2] === Number(kind)) && (!early || !early.checked || event[6] === 1) &&
      (fits(data.texts[event[3]]) || fits(data.texts[event[4]]) || fits(event[5])));
    if (path === '') rows.sort((a, b) => a[1] - b[1]);
    show(rows, false);
    $('event-count').textContent = count(rows.length, data.events.length, 'events');
  }
  for (const id of ['event-path', 'event-kind']) $(id).addEventListener('change', update);
  $('event-search').addEventListener('input', later(update));
  if (early) early.addEventListener('change', update);
  update();
})();

/* The state's filter. */
(() => {
  const box = $('state-filter');
  if (!box) return;
  const open = new Map([...document.querySelectorAll('.state details.section')].map((section) => [section, section.open]));
  box.addEventListener('input', later(() => {
    const fits = matcher(box.value);
    const all = box.value.trim() === '';
    for (const [section, was] of open) {
      let any = false;
      for (const row of section.querySelectorAll('tbody tr')) {
        const hit = all || fits(row.cells[0].textContent) || [...row.cells].some((cell) => fits(cell.textContent));
        row.hidden = !hit;
        any = any || hit;
      }
      section.hidden = !any;
      section.open = all ? was : any;
    }
    document.querySelector('.state').classList.toggle('searching', !all);
  }));
})();
})();
`;
