/** Where a boot's time goes: the rules that sort a profile, held against the files that there are and a recorded profile. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { VmError } from '../../src/base/errors.ts';
import {
  type CpuProfile,
  PARTS,
  type Part,
  parseProfile,
  partOfFile,
  sortProfile,
} from '../../src/cli/profile-parts.ts';

const src = fileURLToPath(new URL('../../src', import.meta.url));
const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.replaceAll('\\', '/').replace(/\.ts$/, ''));

const ROOT = 'file:///zeropage/';
type Node = [name: string, url: string, children?: number[], line?: number];

/** A profile of one millisecond in each of `samples`; nodes are numbered from 1. */
const profile = (nodes: readonly Node[], samples: readonly number[]): CpuProfile => ({
  nodes: nodes.map(([functionName, url, children, lineNumber = 9], i) => ({
    id: i + 1,
    callFrame: {
      functionName,
      url: /^(\w+:|$)/.test(url) ? url : ROOT + url,
      lineNumber,
      columnNumber: lineNumber && 4,
    },
    children,
  })),
  samples: [...samples],
  timeDeltas: samples.map(() => 1000),
});

const milliseconds = (given: CpuProfile) =>
  Object.fromEntries(
    sortProfile(given, ROOT).flatMap(({ part, seconds }) => (seconds > 0 ? [[part, Math.round(seconds * 1000)]] : [])),
  );

describe('the rules for files', () => {
  it('claim every file of the program, and leave none of the engine to its callers', () => {
    expect(files.length).toBeGreaterThan(100);
    const unsorted = files.filter((file) => partOfFile(file) === undefined);
    expect(unsorted, 'give it a row in OWN_FILES of cli/profile-parts.ts').toEqual([]);
    const engine = files.filter((file) => file.startsWith('engine/'));
    expect(engine.filter((file) => ['caller', 'other'].includes(partOfFile(file) as string))).toEqual([]);
  });

  it.each([
    ['engine/blocks', 'find', 'decode'],
    ['engine/decoder', 'decode', 'decode'],
    ['engine/mmu', 'slow', 'tlb'],
    ['engine/page-walk', '#walk4', 'tlb'],
    ['engine/system/segments', 'loadSegment', 'helpers'],
    ['engine/cpu', 'run', 'helpers'],
    ['engine/cpu', '#port', 'devices'],
    ['engine/event-tracer', '', 'trace'],
    ['engine/emit/core', 'buildCore', 'start'],
    ['devices/i8254', 'read', 'devices'],
    ['machine/run-loop', 'slice', 'devices'],
    ['personality/xen/hvm/console', '', 'devices'],
    ['machine/traced-run', '', 'trace'],
    ['unpack/lz4', 'block', 'read'],
    ['boot/pvh', 'plan', 'place'],
    ['memory/guest-memory', 'write', 'caller'],
    ['cli/output', 'write', 'devices'],
    ['cli/main', 'main', 'start'],
    ['nowhere/new', '', undefined],
  ] as const)('%s %s: %s', (file, name, part) => {
    expect(partOfFile(file, name)).toBe(part);
  });
});

describe('sorting a profile', () => {
  it('finds the parts of a recorded boot of a stock kernel through pvh, to the microsecond', () => {
    const path = fileURLToPath(new URL('bench-boot.cpuprofile', import.meta.url));
    const recorded = parseProfile(readFileSync(path, 'utf8'), path);
    const times = sortProfile(recorded, ROOT);
    expect(times.map(({ part }) => part)).toEqual(PARTS.map(([part]) => part));
    const sum = recorded.timeDeltas.reduce((a, b) => a + b, 0) / 1e6;
    expect(times.reduce((all, { seconds }) => all + seconds, 0)).toBeCloseTo(sum, 9);
    expect(milliseconds(recorded)).toEqual({
      start: 96, read: 165, place: 24, decode: 533, interpret: 2969, tlb: 45, helpers: 233, devices: 125, garbage: 107, other: 22,
    }); // biome-ignore format: a table
  });

  const MAIN: Node = ['main', 'dist/cli/main.js', [3]];
  const cases: [string, Node[], number, Part][] = [
    ["charges Node's own functions to whoever called them", [MAIN, ['write', 'dist/cli/output.js', [4]], ['writeSync', 'node:fs', [5]], ['writeBuffer', '']], 5, 'devices'],
    ['charges a helper of everybody to whoever called it', [MAIN, ['placePlan', 'dist/boot/plan.js', [4]], ['write', 'dist/memory/guest-memory.js']], 4, 'place'],
    ['charges the same helper to another caller', [MAIN, ['load', 'dist/engine/system/descriptors.js', [4]], ['write', 'dist/memory/guest-memory.js']], 4, 'helpers'],
    ['takes generated code for interpreting, and what it calls for what that is', [MAIN, ['wasm-function[7]', 'wasm://wasm/12', [4]], ['fill', 'src/engine/mmu.ts']], 4, 'tlb'],
    ['takes generated code for interpreting, what V8 has at its edge included', [MAIN, ['wasm-function[7]', 'wasm://wasm/12', [4]], ['wasm-to-js', '']], 4, 'interpret'],
    ['counts the table that a module makes while it is loaded as starting', [MAIN, ['', 'dist/engine/decoder.js', [4], 0], ['decode', 'dist/engine/decoder.js']], 4, 'start'],
    ['counts looking for modules as starting, wherever that was asked for', [MAIN, ['crashReport', 'dist/machine/crash-report.js', [4]], ['load', 'node:internal/modules/esm/load']], 4, 'start'],
    ['knows a package from the program, which may lie among packages itself', [MAIN, ['parse', 'file:///zeropage/node_modules/commander/lib/command.js']], 3, 'start'],
    ['keeps garbage collection apart from whoever made the garbage', [MAIN, ['decode', 'dist/engine/decoder.js', [4]], ['(garbage collector)', '']], 4, 'garbage'],
    ['leaves a file that nobody has sorted to the rest', [MAIN, ['f', 'dist/nowhere/new.js']], 3, 'other'],
    ['leaves idling to the rest', [['(idle)', '']], 2, 'other'],
  ]; // biome-ignore format: a table

  it.each(cases)('%s', (_, nodes, sample, part) => {
    const first = nodes[0] === MAIN ? [2] : nodes.map((__, i) => i + 2);
    expect(milliseconds(profile([['(root)', '', first], ...nodes], [sample, sample]))).toEqual({ [part]: 2 });
  });

  it('is not stopped by a call stack that is ten thousand deep', () => {
    const deep: Node[] = Array.from({ length: 10_000 }, (_, i) => ['f', 'dist/symbols/decode.js', [i + 3]]);
    deep.push(['last', 'dist/symbols/decode.js']);
    expect(milliseconds(profile([['(root)', '', [2]], ...deep], [10_002]))).toEqual({ read: 1 });
  });

  it.each(['', '{}', '{"nodes":[]', '[1]'])('refuses %j as a profile', (text) => {
    expect(() => parseProfile(text, join('x', 'y'))).toThrow(VmError);
  });
});
