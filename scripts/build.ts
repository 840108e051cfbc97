/** Builds dist (or the folder given): JavaScript and types from src, with the engine's core made beforehand.
 *
 * From source the core is emitted once per process (engine/core-bytes.ts). In dist the same module holds the bytes, so
 * that a guest starts sooner. Everything is built beside the old folder and then takes its place, so a build that
 * fails, or one that somebody is using, leaves a whole dist. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildCore, planHandlers } from '../src/engine/emit/core.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = resolve(process.argv[2] ?? join(root, 'dist'));
const compiler = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');

const work = mkdtempSync(join(dirname(dist), `.${basename(dist)}-`));
try {
  const fresh = join(work, 'new');
  const { status } = spawnSync(
    process.execPath,
    [compiler, '-p', join(root, 'tsconfig.build.json'), '--outDir', fresh],
    {
      stdio: 'inherit',
    },
  );
  if (status === 0) {
    writeFileSync(join(fresh, 'engine', 'core-bytes.js'), coreBytesModule());
    chmodSync(join(fresh, 'cli', 'main.js'), 0o755);
    rmSync(dist, { recursive: true, force: true });
    renameSync(fresh, dist);
  } else {
    process.exitCode = 1;
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** Base64 in a string costs a parser next to nothing. `atob` is in browsers too; Node's own decoder is faster. */
function coreBytesModule(): string {
  const numbers = ([32, 64] as const).map((mode) => {
    const { inside, ...maps } = planHandlers(mode).handlers;
    const parts = Object.entries(maps).map(([name, map]) => `    ${name}: map('${JSON.stringify([...map])}'),`);
    return `  ${mode}: () => ({\n${parts.join('\n')}\n    inside: ${inside},\n  }),`;
  });
  return `/** The core's bytes and the numbers of its handlers, as engine/emit/core.js makes them; written by the build. */
const base64 = '${Buffer.from(buildCore()).toString('base64')}';
const map = (json) => new Map(JSON.parse(json));
const numbers = {
${numbers.join('\n')}
};
let bytes;
const handlers = {};
export function coreBytes() {
  bytes ??= globalThis.Buffer
    ? Uint8Array.from(Buffer.from(base64, 'base64'))
    : Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return bytes;
}
export function coreHandlers(mode) {
  handlers[mode] ??= numbers[mode]();
  return handlers[mode];
}
`;
}
