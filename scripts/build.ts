/** Builds dist (or the folder given): JavaScript and types from src, with the engine's core made beforehand.
 *
 * From source the core is emitted once per process (engine/core-bytes.ts). In dist the same module holds the bytes, so
 * that a guest starts sooner. Everything is built beside the old folder and then takes its place, so a build that
 * fails, or one that somebody is using, leaves a whole dist. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildCore } from '../src/engine/emit/core.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = resolve(process.argv[2] ?? join(root, 'dist'));
const compiler = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');

const work = mkdtempSync(join(dirname(dist), `.${basename(dist)}-`));
try {
  const fresh = join(work, 'new');
  execFileSync(process.execPath, [compiler, '-p', join(root, 'tsconfig.build.json'), '--outDir', fresh], {
    stdio: 'inherit',
  });
  writeFileSync(join(fresh, 'engine', 'core-bytes.js'), coreBytesModule(buildCore()));
  chmodSync(join(fresh, 'cli', 'main.js'), 0o755);
  rmSync(dist, { recursive: true, force: true });
  renameSync(fresh, dist);
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** Base64 in a string costs a parser next to nothing, and `atob` is in browsers too. */
function coreBytesModule(bytes: Uint8Array): string {
  return `/** The core's bytes, as engine/emit/core.js makes them; written by the build. */
const base64 = '${Buffer.from(bytes).toString('base64')}';
let bytes;
export function coreBytes() {
  bytes ??= Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return bytes;
}
`;
}
