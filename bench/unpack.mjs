// How fast each of the seven payload compressions is unpacked, measured by what comes out. The input is a sample of
// 180 KB that the tests use too; kernels given as arguments, or fetched by .ci/fetch-kernels, are larger and come nearer
// to what a user waits for.
//
//   node bench/unpack.mjs [bzImage...]

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeUnpackers } from '../dist/cli/host.js';
import { readKernel } from '../dist/index.js';
import { compressionOf, sizeTrailer, unpack } from '../dist/unpack/unpack.js';
import { time } from './statistics.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const SAMPLES = here('../test/unpack/fixtures');
const KERNELS = process.env.ZEROPAGE_REAL_KERNELS || here('../.cache/real');
const LIMIT = 1 << 30;

function measure(payload, input) {
  const compression = compressionOf(payload);
  const size = sizeTrailer(payload);
  const ns = time(() => unpack(payload, compression, LIMIT, nodeUnpackers));
  const of = `${payload.length} to ${size} bytes, Node ${process.version}`;
  console.log(`unpack ${compression}: ${((size / ns) * 1000).toFixed(1)} MB/s, ${input}, ${of}`);
}

for (const ending of ['gz', 'bz2', 'lzma', 'xz', 'lzo', 'lz4', 'zst']) {
  measure(new Uint8Array(readFileSync(join(SAMPLES, `sample.${ending}`))), `sample.${ending}`);
}

const fetched = existsSync(KERNELS) ? readdirSync(KERNELS).filter((name) => /^vmlinuz[^.]*$/.test(name)) : [];
const given = process.argv.slice(2);
for (const file of given.length ? given : fetched.map((name) => join(KERNELS, name))) {
  const { payload, name } = await readKernel(file);
  if (payload) measure(payload.bytes, basename(name));
}
