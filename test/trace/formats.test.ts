import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { TRACE_FORMATS, traceFormat } from '../../src/trace/formats/formats.ts';
import { clockOf, type TraceExtras, timeline } from '../../src/trace/formats/timeline.ts';
import { type RunRecord, recordJson } from '../../src/trace/run-record.ts';
import { EXTRAS, RECORD } from './records.ts';

function written(ending: string, record: RunRecord = RECORD, extras: TraceExtras = EXTRAS): Buffer {
  const pieces = traceFormat(`trace${ending}`)?.pieces(record, extras) ?? [];
  return Buffer.concat([...pieces].map((piece) => Buffer.from(piece as string)));
}
const text = (ending: string, record?: RunRecord, extras?: TraceExtras) => written(ending, record, extras).toString();

const folder = mkdtempSync(join(tmpdir(), 'zeropage-formats-'));
afterAll(() => rmSync(folder, { recursive: true }));
const has = (program: string) => spawnSync(program, ['--version']).error === undefined;
const ifHere = (program: string) => (has(program) ? '' : ` (skipped: ${program} is not installed)`);

/** No functions, no events, no waypoints: a run that was cut off at once. */
const EMPTY: RunRecord = { ...RECORD, waypoints: [], functions: [], events: [] };

describe('the formats of a trace', () => {
  it.each([
    ['a.json', '.json'],
    ['a.perfetto.json', '.perfetto.json'],
    ['dir/a.ftrace.txt', '.ftrace.txt'],
    ['a.trace.dat', '.trace.dat'],
    ['a.drcov', '.drcov'],
    ['a.lcov', '.lcov'],
    ['a.txt', undefined],
    ['json', undefined],
    ['.json', undefined],
    ['a.JSON', undefined],
  ])('%s is %s', (file, ending) => {
    expect(traceFormat(file)?.ending).toBe(ending);
  });

  it.each(TRACE_FORMATS.map(({ ending }) => ending))('%s is the same twice, and stands an empty run', (ending) => {
    expect(written(ending).equals(written(ending, structuredClone(RECORD), structuredClone(EXTRAS)))).toBe(true);
    expect(written(ending, EMPTY, {}).length).toBeGreaterThan(20);
  });
});

describe('the timeline', () => {
  it('puts everything in the order of time, waypoints first at one instant', () => {
    const row = [...timeline(RECORD, EXTRAS)].map(({ type, at }) => `${type} ${at}`);
    expect(row).toEqual([
      ...['waypoint 0', 'function 0', 'event 10', 'function 700', 'event 800', 'console 900', 'waypoint 1500'],
      ...['function 1500', 'waypoint 2500', 'function 2600', 'event 2700', 'console 2900', 'waypoint 3000'],
    ]);
  });

  it.each([
    [0, 0],
    [1499, 1499],
    [2499, 2499],
    [2500, 1_002_500],
    [2600, 1_002_600],
    [3000, 1_003_000],
    [700, 700],
  ])('has instruction %i at %i ns, with sleep before the waypoint that ends it', (at, ns) => {
    expect(clockOf(RECORD)(at)).toBe(ns);
  });
});

describe('.json', () => {
  it('is recordJson, in pieces', () => {
    expect(text('.json')).toBe(recordJson(RECORD));
    expect(text('.json', EMPTY)).toBe(recordJson(EMPTY));
    expect(JSON.parse(text('.json'))).toEqual(JSON.parse(JSON.stringify(RECORD)));
  });
});

type Mark = { name: string; cat: string; ph: string; ts: number; dur: number; tid: number; args: { name: string } };

describe('.perfetto.json', () => {
  const { traceEvents } = JSON.parse(text('.perfetto.json')) as { traceEvents: Mark[] };
  const tracks = new Map(traceEvents.filter(({ name }) => name === 'thread_name').map((m) => [m.tid, m.args.name]));

  it('has a track for waypoints, functions, the console and each kind of event', () => {
    expect([...tracks.values()]).toEqual([
      ...['waypoints', 'functions, first entries', 'console', 'cr-write', 'exception', 'hypercall'],
    ]);
  });

  it('spans the run from waypoint to waypoint, without gaps', () => {
    const spans = traceEvents.filter(({ ph }) => ph === 'X');
    expect(spans.map(({ name, ts, dur }) => [name, ts, dur])).toEqual([
      ['entry', 0, 1.5],
      ['start_kernel', 1.5, 1001],
      ['rest_init', 1002.5, 0.5],
    ]);
    expect(traceEvents.find(({ name }) => name === 'end')).toMatchObject({ ph: 'i', ts: 1003 });
  });

  it('has each mark on its track, at its time, with the evidence', () => {
    const marks = traceEvents.filter(({ ph, cat }) => ph === 'i' && cat !== 'waypoint');
    expect(marks.map(({ name, ts, tid }) => `${ts} ${tracks.get(tid)}: ${name}`)).toEqual([
      '0 functions, first entries: startup_64',
      '0.01 cr-write: CR4',
      '0.7 functions, first entries: init_once',
      '0.8 exception: #PF',
      '0.9 console: hello',
      '1.5 functions, first entries: start_kernel',
      '1002.6 functions, first entries: vsyscall_page',
      '1002.7 hypercall: mmu_update',
      '1002.9 console: over\x1b[0m "é"',
    ]);
    expect(marks[1].args).toEqual({
      ...{ instructions: 10, where: 'startup_64+0x9', rip: '0xffffffff81000009', values: ['0x20'] },
    });
  });

  it(`is JSON to jq${ifHere('jq')}`, { skip: !has('jq') }, () => {
    const count = execFileSync('jq', ['.traceEvents | length'], { input: text('.perfetto.json') });
    expect(Number(count)).toBe(traceEvents.length);
  });
});

describe('.ftrace.txt', () => {
  const lines = text('.ftrace.txt')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));

  it('says how many lines there are', () => {
    expect(text('.ftrace.txt')).toContain(`entries-in-buffer/entries-written: ${lines.length}/${lines.length + 2} `);
  });

  it('has every line in the shape that readers split at', () => {
    // task-pid, CPU, flags, seconds: as in trappy's and Perfetto's importers.
    const shape = /^\s*(.+)-(\d+)\s+\[(\d{3})\]\s+[a-zA-Z0-9.]{4}\s+(\d+\.\d+):\s+(.+)$/;
    const times = lines.map((line) => Number(shape.exec(line)?.[4]));
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times.at(-1)).toBe(0.001003);
  });

  it('names each function and who called it first', () => {
    expect(lines.filter((line) => line.includes(' <-')).map((line) => line.split(': ')[1])).toEqual([
      'startup_64 <-0x0',
      'init_once <-startup_64',
      'start_kernel <-startup_64',
      'vsyscall_page <-0x0',
    ]);
  });

  it('has events as name: fields, and lets no control character through', () => {
    expect(lines).toContain(
      '           <...>-0       [000] ....     0.000000010: cr_write: what=CR4 values=0x20 ip=startup_64+0x9',
    );
    expect(lines.at(-2)).toContain('console: over\\x1b[0m "é"');
  });
});

describe('.trace.dat', () => {
  // A guest that sleeps for longer than an event's 27 bits of nanoseconds, and prints more than an event's short form holds.
  const [entry, , , end] = RECORD.waypoints;
  const sleeper = { ...RECORD, waypoints: [entry, { ...end, at: 2650, ns: 5_000_000_000 }] };
  const long = 'x'.repeat(3000);
  const lines = Array.from({ length: 20 }, (_, i) => ({ at: 2660 + i, text: `${i} ${long}` }));
  const file = written('.trace.dat', sleeper, { ...EXTRAS, consoleLines: lines });

  it('has whole pages behind its header, each with its time and no more than fits', () => {
    const flyrecord = file.indexOf('flyrecord\0') + 10;
    const [start, size] = [file.readBigUInt64LE(flyrecord), file.readBigUInt64LE(flyrecord + 8)].map(Number);
    expect(start % 4096).toBe(0);
    expect(start + size).toBe(file.length);
    const pages = Array.from({ length: size / 4096 }, (_, i) =>
      file.subarray(start + i * 4096, start + (i + 1) * 4096),
    );
    expect(pages.length).toBeGreaterThan(4);
    const times = pages.map((page) => Number(page.readBigUInt64LE(0)));
    expect(times).toEqual([...times].sort((a, b) => a - b));
    for (const page of pages) expect(page.readBigUInt64LE(8)).toBeLessThanOrEqual(4080n);
  });

  it(`is reported by trace-cmd${ifHere('trace-cmd')}`, { skip: !has('trace-cmd') }, () => {
    const path = join(folder, 'a.trace.dat');
    writeFileSync(path, file);
    const report = execFileSync('trace-cmd', ['report', '-t', path], { encoding: 'utf8' }).split('\n');
    const shown = report.flatMap((line) => /(\d+\.\d{9}): (\w+): +(.{1,40})/.exec(line)?.slice(1).join(' ') ?? []);
    expect(shown.slice(0, 4)).toEqual([
      '0.000000000 print startup_64: waypoint entry',
      '0.000000000 function startup_64',
      '0.000000010 print startup_64: cr_write: what=CR4 values=0x',
      '0.000000700 function init_once',
    ]);
    expect(shown).toContain('5.000000000 print startup_64: waypoint end');
    expect(shown.filter((line) => line.includes('console: '))).toHaveLength(20);
    expect(shown.at(-1)).toContain('5.000000050 print'); // hypercall at 2700
  });
});

/** As DynamoRIO's documents describe the log. */
function readDrcov(file: Buffer) {
  const end = file.indexOf('\n', file.indexOf('BB Table: ')) + 1;
  const head = file.subarray(0, end).toString('latin1').trimEnd().split('\n');
  const modules = head.slice(4, -1).map((line) => line.split(',').map((field) => field.trim()));
  const blocks: [number, number, number][] = [];
  for (let at = end; at < file.length; at += 8) {
    blocks.push([file.readUInt16LE(at + 6), file.readUInt32LE(at), file.readUInt16LE(at + 4)]);
  }
  return { head, modules, blocks };
}

describe('.drcov', () => {
  const { head, modules, blocks } = readDrcov(written('.drcov'));

  it('has the header of version 2, and as many modules and blocks as it says', () => {
    expect(head.slice(0, 4)).toEqual([
      ...['DRCOV VERSION: 2', 'DRCOV FLAVOR: drcov', 'Module Table: version 2, count 2'],
      'Columns: id, base, end, entry, path',
    ]);
    expect(head.at(-1)).toBe(`BB Table: ${blocks.length} bbs`);
  });

  it('takes the kernel for one module from its first megabyte on, and what is far away for another', () => {
    expect(modules).toEqual([
      ['0', '0xffffffff81000000', '0xffffffff81101000', '0x0000000000000000', 'tiny_64.elf'],
      ['1', '0xffffffffff600000', '0xffffffffff600008', '0x0000000000000000', 'tiny_64.elf.1'],
    ]);
  });

  it('has functions that ran, whole: cut at 64 KiB, up to the next where the size is unknown', () => {
    expect(blocks).toEqual([
      [0, 0, 0x80],
      [0, 0x2000, 0x1000],
      [0, 0x3000, 0xffff],
      [0, 0x12fff, 0x2001],
      [1, 0, 8],
    ]);
  });
});

describe('.lcov', () => {
  it('lists all functions once, whether they ran, and tells namesakes apart', () => {
    expect(text('.lcov').trimEnd().split('\n')).toEqual([
      ...['TN:xen_pv', 'SF:tiny_64.elf.functions'],
      ...['FN:1,startup_64', 'FN:2,init_once@0xffffffff81001000', 'FN:3,init_once@0xffffffff81002000'],
      ...['FN:4,start_kernel', 'FN:5,panic', 'FN:6,vsyscall_page'],
      ...['FNDA:1,startup_64', 'FNDA:0,init_once@0xffffffff81001000', 'FNDA:3,init_once@0xffffffff81002000'],
      ...['FNDA:1,start_kernel', 'FNDA:0,panic', 'FNDA:2,vsyscall_page'],
      ...['FNF:6', 'FNH:4', 'DA:1,1', 'DA:2,0', 'DA:3,3', 'DA:4,1', 'DA:5,0', 'DA:6,2', 'LF:6', 'LH:4'],
      'end_of_record',
    ]);
  });

  it('knows only what ran when the kernel has not been asked', () => {
    expect(text('.lcov', RECORD, {})).toContain('FNF:4\nFNH:4\n');
  });

  it(`is summed up by lcov and rendered by genhtml${ifHere('genhtml')}`, { skip: !has('genhtml') }, () => {
    const file = join(folder, 'a.lcov');
    writeFileSync(file, written('.lcov'));
    const { stdout, stderr } = spawnSync('lcov', ['--summary', file], { encoding: 'utf8' });
    expect(stdout + stderr).toContain('(4 of 6 functions)');
    const html = join(folder, 'html');
    execFileSync('genhtml', ['--quiet', '--ignore-errors', 'source', '--output-directory', html, file], {
      stdio: 'ignore',
    });
    const found = execFileSync('grep', ['-rlF', 'init_once@0xffffffff81002000', html], { encoding: 'utf8' });
    expect(found).toMatch(/\.func\.html/);
    expect(existsSync(join(html, 'index.html'))).toBe(true);
    expect(readFileSync(join(html, 'index.html'), 'utf8')).toContain('66.7');
  });
});
