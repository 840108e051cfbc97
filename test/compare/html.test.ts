import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { compareRecords } from '../../src/compare/compare.ts';
import { CLIENT } from '../../src/compare/html/client.ts';
import { handoverRows } from '../../src/compare/html/handed-over.ts';
import { grouped, html, jsonForScript, percent } from '../../src/compare/html/markup.ts';
import { phasesOf } from '../../src/compare/html/phases.ts';
import { stateSections } from '../../src/compare/html/state-rows.ts';
import { comparePage, type PageInput } from '../../src/compare/html.ts';
import type { RunRecord } from '../../src/trace/run-record.ts';
import { eventRun, functionRun, recordOf, stateOf, waypoint } from './hand-made.ts';

/** Elements of a page, as a reader that knows HTML's rules for text, raw text and attributes finds them. */
function elements(page: string): { tag: string; attributes: Map<string, string>; text: string }[] {
  const found: { tag: string; attributes: Map<string, string>; text: string }[] = [];
  const open: string[] = [];
  const empty = new Set(['meta', 'input']);
  const token = /<!DOCTYPE html>|<\/([a-z0-9]+)>|<([a-z0-9]+)((?:\s+[a-zA-Z0-9-]+(?:="[^"<>]*")?)*)\s*(\/?)>|([^<]+)/gy;
  let at = 0;
  while (at < page.length) {
    token.lastIndex = at;
    const match = token.exec(page);
    if (!match) throw new Error(`no markup at ${at}: ${JSON.stringify(page.slice(at, at + 80))}`);
    at = token.lastIndex;
    const [, close, tag, attributes = '', self, text] = match;
    if (close !== undefined) expect(open.pop()).toBe(close);
    if (text !== undefined) {
      const last = found.at(-1);
      if (last) last.text += text.trimEnd();
    }
    if (tag === undefined) continue;
    const pairs = [...attributes.matchAll(/([a-zA-Z0-9-]+)(?:="([^"]*)")?/g)].map(([, k, v]) => [k, v ?? ''] as const);
    found.push({ tag, attributes: new Map(pairs), text: '' });
    if (tag === 'script' || tag === 'style') {
      const end = page.indexOf(`</${tag}>`, at);
      (found.at(-1) as { text: string }).text = page.slice(at, end);
      at = end + tag.length + 3;
    } else if (!empty.has(tag) && self === '') open.push(tag);
  }
  expect(open).toEqual([]);
  return found;
}

const dataOf = (page: string) =>
  JSON.parse(elements(page).find(({ attributes }) => attributes.get('id') === 'data')?.text ?? '');

const pageOf = (records: RunRecord[], more: Partial<PageInput> = {}) =>
  comparePage({ comparison: compareRecords(records), records, ...more });

const object = (name: string, value: string, symbol?: string) => ({ name, address: '0x1000', type: undefined, fields: [{ path: '+0x0', value, symbol }] }); // biome-ignore format: one line

const bare = recordOf('linux64', {
  waypoints: [
    waypoint('entry', 0),
    waypoint('x86_64_start_kernel', 200),
    waypoint('start_kernel', 1234567, {
      objects: [object('pv_ops', '0x10', 'native_iret'), object('nr_ready', '0x1')],
    }),
    waypoint('end', 2000000),
  ],
  instructions: 2000000,
  functions: [
    functionRun('x86_64_start_kernel', 200, { counts: [0, 0, 1, 1], count: 1 }),
    functionRun('cr4_init_shadow', 300, { caller: 'x86_64_start_kernel+0x9', counts: [0, 0, 1, 1] }),
    functionRun('early_step', 400, { caller: 'x86_64_start_kernel+0x19', counts: [0, 0, 70, 90], count: 90 }),
    functionRun('start_kernel', 1234567, { counts: [0, 0, 0, 1] }),
  ],
  events: [eventRun('cr-write', 250, 4, 'CR4', { where: 'native_write_cr4+0x3', values: ['0x6b0'] })],
});
const xen = recordOf('xen-pv', {
  waypoints: [
    waypoint('entry', 0),
    waypoint('start_kernel', 900, {
      control: { ...stateOf().control, cr3: '0x2000' },
      objects: [object('pv_ops', '0x20', 'xen_iret'), object('nr_ready', '0x0')],
    }),
    waypoint('end', 5000),
  ],
  functions: [functionRun('early_step', 10, { counts: [0, 1, 1] }), functionRun('start_kernel', 900, { counts: [0, 0, 1] })],
  events: [eventRun('hypercall', 20, 1, 'mmu_update'), eventRun('hypercall', 950, 1, 'mmu_update')],
}); // biome-ignore format: a record

describe('the page of a comparison', () => {
  const page = pageOf([bare, xen]);
  const all = elements(page);
  const text = all.map((element) => element.text).join('\n');

  it('is one file that needs nothing else', () => {
    expect(all.filter(({ tag }) => ['link', 'img', 'iframe', 'object', 'base', 'form'].includes(tag))).toEqual([]);
    const addresses = all.flatMap(({ attributes }) => ['src', 'href', 'action', 'xlink:href'].flatMap((name) => attributes.get(name) ?? [])); // biome-ignore format: one line
    expect(addresses.filter((address) => !address.startsWith('#'))).toEqual([]);
    expect(page).not.toMatch(/https?:|@import|url\(/);
    const policy = all.find(({ attributes }) => attributes.get('http-equiv') === 'Content-Security-Policy');
    expect(policy?.attributes.get('content')).toContain('default-src &#39;none&#39;'.replaceAll('&#39;', "'"));
  });

  it('is the same, byte for byte, for the same records', () => {
    expect(pageOf([bare, xen])).toBe(page);
    expect(pageOf(JSON.parse(JSON.stringify([bare, xen])))).toBe(page);
  });

  it('says kernel, verdict, paths and how far they came', () => {
    expect(all.find(({ tag }) => tag === 'title')?.text).toBe(
      `tiny: ${compareRecords([bare, xen]).findings.length} findings`,
    );
    for (const word of ['linux64', 'xen-pv', 'start_kernel', '1,234,567', '2,000,000', 'filled', 'console=ttyS0']) {
      expect(text).toContain(word);
    }
  });

  it('shows every finding with its evidence, and leads to the function it is about', () => {
    const { findings } = compareRecords([bare, xen]);
    expect(findings.map(({ id }) => id)).toContain('function/cr4_init_shadow/xen-pv');
    const cards = all.filter(
      ({ tag, attributes }) => tag === 'article' && attributes.get('class')?.startsWith('finding'),
    );
    expect(cards).toHaveLength(findings.length);
    for (const { title, evidence } of findings) {
      expect(text).toContain(title.replaceAll('&', '&amp;'));
      for (const { at } of evidence) if (at !== undefined) expect(text).toContain(grouped(at));
    }
    expect(all.find(({ attributes }) => attributes.get('data-find') === 'cr4_init_shadow')?.tag).toBe('a');
  });

  it('tells a comparison without findings so', () => {
    const comparison = { ...compareRecords([bare, xen]), findings: [] };
    const calm = elements(comparePage({ comparison, records: [bare, xen] }));
    expect(calm.find(({ tag }) => tag === 'title')?.text).toBe('tiny: no findings');
  });

  it('draws each path to four scales, phases with exact counts, and marks what findings are about', () => {
    const titles = all.filter(({ tag }) => tag === 'title').map((element) => element.text);
    const phase = 'x86_64_start_kernel → start_kernel\n1,234,367 instructions (99.984%), from 200';
    expect(titles.filter((title) => title.startsWith(phase))).toHaveLength(4);
    expect(titles.filter((title) => title.includes('most entered: early_step ×70'))).toHaveLength(4);
    expect(all.filter(({ attributes }) => attributes.get('class') === 'mark').length % 4).toBe(0);
    expect(all.filter(({ attributes }) => attributes.get('class') === 'goal met')).toHaveLength(8);
  });

  it('puts the state side by side: what differs, and what may, with its reason', () => {
    const rows = all.flatMap(({ tag, attributes }, i) => (tag === 'tr' && attributes.has('class') ? [[attributes.get('class'), all[i + 1].text]] : [])); // biome-ignore format: one line
    expect(rows).toContainEqual(['legitimate', 'cr3']);
    expect(rows).toContainEqual(['same', 'cr0']);
    expect(rows).toContainEqual(['differs', '+0x0']);
    expect(text).toContain('page tables lie where there was room for them');
    expect(text).toContain('native_iret');
  });

  it('carries the functions and events of all paths as data', () => {
    const data = dataOf(page);
    expect(data.paths).toEqual(['linux64', 'xen-pv']);
    const by = Object.fromEntries(data.functions.map(([name, ...ran]: [string]) => [name, ran]));
    expect(by.cr4_init_shadow).toEqual([[300, 1, 1, data.texts.indexOf('x86_64_start_kernel+0x9')], 0]);
    expect(by.early_step).toEqual([
      [400, 90, 70, expect.any(Number)],
      [10, 1, 1, 0],
    ]);
    const events = data.events.map((e: number[]) => [data.paths[e[0]], e[1], data.texts[e[2]], data.texts[e[3]], e[6]]);
    expect(events).toEqual([
      ['linux64', 250, 'cr-write', 'CR4', 1],
      ['xen-pv', 20, 'hypercall', 'mmu_update', 1],
      ['xen-pv', 950, 'hypercall', 'mmu_update', 0],
    ]);
  });

  it('says of a path that never arrives that it did not, and how it ended', () => {
    const dead = recordOf('xen-pv', {
      waypoints: [waypoint('entry', 0), waypoint('end', 77)],
      functions: [functionRun('startup_xen', 0)],
      exit: { reason: 'killed', code: 4, detail: 'no handler for #PF' },
      instructions: 77,
    });
    const told = elements(pageOf([bare, dead]));
    expect(told.filter((element) => element.text === 'never arrived').length).toBeGreaterThan(1);
    expect(told.filter((element) => element.text === 'ended without arriving: no handler for #PF')).toHaveLength(4);
  });

  it('is whole when nothing ran, nobody arrived, or there is nobody', () => {
    const nothing = recordOf('pvh', { waypoints: [waypoint('entry', 0)], functions: [], instructions: 0 });
    for (const records of [[nothing], [nothing, { ...nothing, via: 'linux64' }], []]) elements(pageOf(records));
  });
});

describe('names that are no friends', () => {
  const evil = '</script><script>document.title="owned"</script><!--"\' onload=x \u202e\u0000\u2028\ud800';
  const hostile = (via: string): RunRecord =>
    recordOf(via, {
      kernel: { name: evil, version: evil, sha256: evil, symbols: 'symtab' },
      input: { cmdline: evil, memory: 1, initrdBytes: 0 },
      exit: { reason: evil, code: 4, detail: evil + via },
      console: evil,
      waypoints: [
        waypoint('entry', 0),
        waypoint(evil, 10),
        waypoint('start_kernel', 1000, {
          registers: { ...stateOf().registers, [evil]: evil + via },
          msrs: { ...stateOf().msrs, [evil]: evil + via },
          objects: [object(evil, evil, evil + via)],
          paging: { kind: evil, root: evil, mapped: [{ from: '0x0', to: '0x1', rights: evil }] },
        }),
        waypoint('end', 2000),
      ],
      functions: [functionRun(evil + via, 5, { caller: evil, counts: [0, 0, 1, 1] }), functionRun('start_kernel', 1000)],
      events: [eventRun(evil, 7, 1, evil, { where: evil, values: [evil] })],
    }); // biome-ignore format: a record
  const records = [hostile('linux64'), hostile('xen-pv')];
  const finding = { id: evil, kind: 'state' as const, paths: [evil], title: evil, why: evil, subject: evil, waypoint: evil, evidence: [{ path: evil, text: evil, at: 1 }] }; // biome-ignore format: one line
  const comparison = { ...compareRecords(records), findings: [finding], notes: [finding] };
  const handedOver = [{ via: evil, struct: evil, fields: [{ name: evil, value: evil, meaning: evil }] }];
  const page = comparePage({ comparison, records, handedOver, against: evil });

  it('are text wherever they stand', () => {
    const all = elements(page);
    expect(all.filter(({ tag }) => tag === 'script')).toHaveLength(2);
    const attributes = all.flatMap((element) => [...element.attributes.keys()]);
    expect(attributes.filter((name) => name.startsWith('on'))).toEqual([]);
    expect(page).not.toContain('<!--');
    for (const unseen of ['\u0000', '\u2028', '\u202e']) expect(page).not.toContain(unseen);
    expect(new TextDecoder().decode(new TextEncoder().encode(page))).toBe(page); // no half of a surrogate pair
    expect(page).toContain('\\u202e');
  });

  it('come back from the data as they were, but for what nobody can see', () => {
    const names = dataOf(page).functions.map(([name]: [string]) => name);
    expect(names).toContain(`</script><script>document.title="owned"</script><!--"' onload=x \\u202e\\u0000\\u2028\\ud800linux64`); // biome-ignore format: one line
  });

  const browser = ['chromium', 'chromium-browser', 'google-chrome'].find((name) => spawnSync(name, ['--version']).status === 0); // biome-ignore format: one line
  it.skipIf(browser === undefined)(
    `do nothing in a browser, where the lists show them (skipped without a Chromium)`,
    () => {
      const folder = mkdtempSync(join(tmpdir(), 'zeropage-page-'));
      try {
        const file = join(folder, 'page.html');
        writeFileSync(file, page);
        const { stdout } = spawnSync(
        browser as string,
        ['--headless=new', '--no-sandbox', '--disable-gpu', `--user-data-dir=${folder}`, '--dump-dom', pathToFileURL(file).href],
        { encoding: 'utf8', timeout: 50_000, maxBuffer: 1 << 26 },
      ); // biome-ignore format: one call
        expect(stdout).toContain('class="script"'); // the script came to its first line
        expect(stdout).toMatch(/<title>[^<]*: 1 finding<\/title>/);
        expect(stdout).toMatch(/id="function-count"[^>]*>2 of 3 functions/);
        expect(stdout).toMatch(/id="event-count"[^>]*>1 of 2 events/);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    },
    60_000,
  );
});

describe('a large kernel', () => {
  it('has its ten thousand functions in the data, and no markup for each', () => {
    const many = (count: number) => [bare, xen].map((record) => ({
      ...record,
      functions: [...record.functions, ...Array.from({ length: count }, (_, i) => functionRun(`fn_${i}`, 401, { counts: [0, 0, 1, 1] }))],
    })); // biome-ignore format: one thought
    const comparison = { ...compareRecords([bare, xen]), findings: [] };
    const [small, large] = [10, 10_000].map((count) => comparePage({ comparison, records: many(count) }));
    expect(elements(large).length - elements(small).length).toBeLessThan(100);
    expect(dataOf(large).functions.length).toBeGreaterThan(10_000);
    expect(large.length).toBeLessThan(2_000_000);
  });

  it('has its most important findings, and says how many are left out', () => {
    const comparison = compareRecords([bare, xen]);
    const evidence = Array.from({ length: 500 }, (_, at) => ({ path: 'linux64', text: 'seen', at }));
    const findings = Array.from({ length: 5000 }, (_, i) => ({
      ...comparison.findings[0],
      id: `state/${i}`,
      evidence,
    }));
    const page = comparePage({ comparison: { ...comparison, findings }, records: [bare, xen] });
    expect(page).toContain('and 4,750 more, which --json has');
    expect(page).toContain('492 more, the first 52 of them');
    expect(page.length).toBeLessThan(5_000_000);
  });

  it('has its first events, and says how many are left out', () => {
    const events = Array.from({ length: 20_000 }, (_, i) => eventRun('port-in', i, 0x3fd, 'port 0x3fd'));
    const page = pageOf([{ ...bare, events, eventsDropped: 5 }, xen]);
    expect(dataOf(page).leftOut).toEqual([5005, 0]);
    expect(page).toContain('5,005 of linux64');
  });
});

describe('phases', () => {
  it('lie between the waypoints of a path, up to the meeting place', () => {
    expect(phasesOf(bare, 'start_kernel').map(({ name, next, at, length }) => [name, next, at, length])).toEqual([
      ['entry', 'x86_64_start_kernel', 0, 200],
      ['x86_64_start_kernel', 'start_kernel', 200, 1234367],
    ]);
  });

  it('of two waypoints at one place take the later name', () => {
    const record = recordOf('xen-pv', {
      waypoints: [waypoint('entry', 0), waypoint('startup_xen', 0), waypoint('end', 9)],
    });
    expect(phasesOf(record, 'start_kernel').map(({ name, next }) => [name, next])).toEqual([['startup_xen', 'end']]);
  });
});

describe('a row of the state', () => {
  it('takes a kernel that KASLR has moved back to where it is linked', () => {
    const path = (via: string, moved: bigint, GS_BASE: string) => ({ via, sha256: 'a', moved, state: stateOf({ msrs: { GS_BASE } }) }); // biome-ignore format: one line
    const row = (...paths: ReturnType<typeof path>[]) =>
      stateSections(paths)
        .find(({ id }) => id === 'msrs')
        ?.rows.find(({ field }) => field === 'GS_BASE');
    const linked = path('pvh', 0n, '0xffffffff8301a000');
    expect(row(path('linux64', 0x24c0_0000n, '0xffffffffa7c1a000'), linked)).toMatchObject({ kind: 'legitimate' });
    expect(row(path('linux64', 0x24e0_0000n, '0xffffffffa7c1a000'), linked)).toMatchObject({ kind: 'differs' });
    expect(row(path('linux64', 0n, '0xffff8bf5cf800000'), path('pvh', 0n, '0xffff88800f800000'))?.kind).toBe(
      'legitimate',
    );
    expect(row(path('linux64', 0n, '0xffff8bf5cf800000'), path('pvh', 0n, '0x0'))?.kind).toBe('differs');
  });

  const rowOf = (states: [via: string, sha256: string, value: string | undefined, symbol?: string][], name: string) => {
    const paths = states.map(([via, sha256, value, symbol]) => ({
      via,
      sha256,
      state: stateOf({ objects: value === undefined ? [] : [object(name, value, symbol)] }),
    }));
    const { kind, because } = stateSections(paths).find(({ title }) => title === name)?.rows[0] ?? {};
    return because === undefined ? kind : `${kind}: ${because}`;
  };

  it.each([
    ['equal values are equal', [['linux64', 'a', '0x1'], ['pvh', 'a', '0x1']], 'counter', /^same$/],
    ['other values differ', [['linux64', 'a', '0x1'], ['pvh', 'a', '0x2']], 'counter', /^differs$/],
    ['a pointer is its symbol', [['linux64', 'a', '0x1', 'f'], ['pvh', 'a', '0x2', 'f+0x8']], 'handler', /^same$/],
    ['a known difference has its reason', [['linux64', 'a', '0x1', 'native_iret'], ['xen-pv', 'a', '0x2', 'xen_iret']], 'pv_ops', /^legitimate: .*hypervisor/],
    ['it is known for some paths only', [['linux64', 'a', '0x1', 'native_iret'], ['pvh', 'a', '0x2', 'xen_iret']], 'pv_ops', /^differs$/],
    ['another build has another layout', [['linux64', 'a', '0x1'], ['lguest', 'b', '0x2']], 'counter', /^legitimate: raw memory/],
    ['what is not there is not compared', [['linux64', 'a', '0x1'], ['pvh', 'a', undefined]], 'counter', /^legitimate: not every/],
  ] as const)('%s', (_, states, name, verdict) => {
    expect(rowOf(states as never, name)).toMatch(verdict);
  }); // biome-ignore format: a table
});

describe('a long object', () => {
  it('loses equal fields first, and says how many', () => {
    const fields = (odd: string) => Array.from({ length: 2000 }, (_, i) => ({ path: `+0x${(i * 8).toString(16)}`, value: i === 1999 ? odd : '0x0' })); // biome-ignore format: one line
    const paths = ['linux64', 'pvh'].map((via) => ({ via, sha256: 'a', state: stateOf({ objects: [{ name: 'big', address: '0x0', type: undefined, fields: fields(via) }] }) })); // biome-ignore format: one line
    const big = stateSections(paths).find(({ title }) => title === 'big');
    expect(big?.rows).toHaveLength(500);
    expect(big?.rows.filter(({ kind }) => kind === 'differs').map(({ field }) => field)).toEqual(['+0x3e78']);
    expect(big?.note).toContain('1500 fields left out');
  });
});

describe('small parts', () => {
  it('the template escapes values and nothing else', () => {
    expect(html`<b>${'<i>&"\''}</b>${[1, html`<u></u>`]}${undefined}${false}`.text).toBe('<b>&lt;i&gt;&amp;&quot;&#39;</b>1<u></u>'); // biome-ignore format: one line
    expect(jsonForScript({ a: '</script><!--\u2028' }).text).toBe('{"a":"\\u003c/script\\u003e\\u003c!--\\u2028"}');
  });

  it.each([[0, '0'], [999, '999'], [1000, '1,000'], [1234567, '1,234,567']])('%i is grouped as %s', (value, text) => {
    expect(grouped(value)).toBe(text);
  }); // biome-ignore format: a table

  it('a share of nothing is no share', () => {
    expect([percent(1, 3), percent(5, 0)]).toEqual(['33.333%', '0%']);
  });

  it('the script is a program', () => {
    expect(() => new Function(CLIENT)).not.toThrow();
    expect(CLIENT).not.toMatch(/innerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|XMLHttp|localStorage/);
  });

  it('what loaders hand over stands in one row when it means the same', () => {
    const rows = handoverRows([
      { via: 'linux64', struct: 'boot_params', fields: [{ name: 'hdr.cmd_line_ptr', value: '0x20000' }, { name: 'hdr.jump', value: '0x1' }] },
      { via: 'xen-pv', struct: 'start_info', fields: [{ name: 'cmd_line', value: '"a"' }] },
    ]); // biome-ignore format: a table
    expect(rows.map(({ what, cells }) => [what, ...cells.map((cell) => cell.map(({ name }) => name).join())])).toEqual([
      ['command line', 'hdr.cmd_line_ptr', 'cmd_line'],
      ['beside that', 'hdr.jump', ''],
    ]);
  });
});
