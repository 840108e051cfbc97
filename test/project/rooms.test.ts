import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Which rooms of src a room may import; every room may import `base`. Arrows never turn back. */
const ROOMS: Record<string, readonly string[]> = {
  base: [],
  layout: ['base'],
  x86: ['base'],
  wasm: ['base'],
  trace: ['base'],
  memory: ['base', 'layout', 'x86'],
  unpack: ['base'],
  image: ['base', 'layout', 'unpack'],
  initrd: ['base', 'image', 'unpack'],
  symbols: ['base', 'layout', 'image'],
  boot: ['base', 'image', 'initrd', 'memory', 'x86', 'layout'],
  engine: ['base', 'x86', 'wasm', 'memory', 'trace'],
  devices: ['base', 'memory'],
  personality: ['base', 'layout', 'memory', 'x86'],
  machine: [
    'base',
    'layout',
    'x86',
    'wasm',
    'trace',
    'memory',
    'unpack',
    'image',
    'initrd',
    'symbols',
    'boot',
    'engine',
    'devices',
    'personality',
  ],
  compare: ['base', 'layout', 'x86', 'symbols', 'trace'],
};
/** These may import everything: the command line, and the library's files beside the rooms. */
const EVERYTHING = ['cli', ''];

/** Packages that a room below `cli` may import: pure ones, which run in a browser as they are. */
const PACKAGES: Record<string, readonly string[]> = { machine: ['iced-x86'] };

type Import = { file: string; room: string; target: string };

/** Of a path within src: its first folder, '' for the files beside the rooms. */
const roomOf = (path: string) => (path.includes('/') ? path.split('/')[0] : '');

const COMMENTS = /\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm;
/** Static, dynamic and re-exporting imports, types included: an arrow is an arrow. */
const IMPORTS = /(?:^\s*(?:import|export)\s(?:[^'";=]*?\sfrom\s)?|\bimport\(|\brequire\()'([^']+)'/gm;

function importsOf(file: string, text: string): Import[] {
  return [...text.replace(COMMENTS, '').matchAll(IMPORTS)].map(([, target]) => ({
    file,
    room: roomOf(file),
    target: target.startsWith('.') ? posix.join(dirname(file), target) : target,
  }));
}

const imports = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .flatMap((file) => importsOf(file.replaceAll('\\', '/'), readFileSync(join(root, 'src', file), 'utf8')));

const isOurs = (target: string) => target.endsWith('.ts');
const show = (found: Import[]) => found.map(({ file, target }) => `${file} imports ${target}`);

describe('the rooms of src', () => {
  it('are all in the table', () => {
    const rooms = new Set(imports.map(({ room }) => room));
    expect([...rooms].filter((room) => !(room in ROOMS) && !EVERYTHING.includes(room))).toEqual([]);
  });

  it('import only what the table allows', () => {
    const wrong = imports.filter(({ room, target }) => {
      const to = roomOf(target);
      return isOurs(target) && !EVERYTHING.includes(room) && to !== room && !ROOMS[room].includes(to);
    });
    expect(show(wrong)).toEqual([]);
  });

  it('below cli import no module of Node and no package but the listed ones', () => {
    const wrong = imports.filter(
      ({ room, target }) => !isOurs(target) && !EVERYTHING.includes(room) && !(PACKAGES[room] ?? []).includes(target),
    );
    expect(show(wrong)).toEqual([]);
  });

  it('never import in a circle', () => {
    const arrows = new Map(Object.entries(ROOMS).map(([room, may]) => [room, new Set(may)]));
    while (arrows.size > 0) {
      const free = [...arrows].filter(([, may]) => may.size === 0).map(([room]) => room);
      expect(free, `a circle among ${[...arrows.keys()].join(', ')}`).not.toEqual([]);
      for (const room of free) arrows.delete(room);
      for (const may of arrows.values()) for (const room of free) may.delete(room);
    }
  });

  it('keep boot and engine apart: they meet in machine', () => {
    expect(ROOMS.boot).not.toContain('engine');
    expect(ROOMS.engine).not.toContain('boot');
  });
});

describe('the reader of imports', () => {
  it.each([
    ["import { a } from '../base/numbers.ts';", ['base/numbers.ts']],
    ["import type { A,\n  B } from './b.ts';", ['boot/b.ts']],
    ["export * from '../layout/elf.ts';", ['layout/elf.ts']],
    ["import 'node:fs';", ['node:fs']],
    ["const x = await import('iced-x86');", ['iced-x86']],
    ["const x = require('pino') as typeof import('pino');", ['pino', 'pino']],
    ["// import x from './no.ts'\n/* import x from './no.ts' */", []],
    ["fix: 'take the kernel from ' + 'elsewhere',", []],
  ])('reads %j', (text, targets) => {
    expect(importsOf('boot/a.ts', text).map(({ target }) => target)).toEqual(targets);
  });

  it('sees every room', () => {
    expect(imports.length).toBeGreaterThan(300);
  });
});

describe('the dependencies in package.json', () => {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<string, object>;
  const used = new Set(imports.map(({ target }) => target).filter((t) => !isOurs(t) && !t.startsWith('node:')));

  it('are those that src imports, no more and no fewer', () => {
    expect(Object.keys(manifest.dependencies).sort()).toEqual([...used].sort());
  });

  it('have exact versions', () => {
    for (const [name, version] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
      expect(version, name).toMatch(/^\d+\.\d+\.\d+$/);
    }
  });
});
