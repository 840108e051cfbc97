/** Real kernels, fetched by .ci/fetch-kernels. Tests that need one are skipped, with the reason in their name, when it is
 * not there. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe } from 'vitest';

const folder = process.env.ZEROPAGE_REAL_KERNELS || fileURLToPath(new URL('../../.cache/real', import.meta.url));

export const realPath = (name: string) => join(folder, name);
export const haveReal = (name: string) => existsSync(realPath(name));
export const readReal = (name: string) => new Uint8Array(readFileSync(realPath(name)));

/** The package and version that a file came from: "linux-image-6.1.0-56-amd64 6.1.192-2". */
export function realVersion(name: string): string {
  const path = `${realPath(name)}.from`;
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : 'unknown';
}

export function describeReal(name: string, tests: () => void): void {
  if (haveReal(name)) describe(name, tests);
  else describe.skip(`${name} (skipped: not in ${folder}; .ci/fetch-kernels brings it)`, tests);
}
