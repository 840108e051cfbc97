// Runs the guest images under several emulators in turn and measures what one iteration of each costs there. Progress
// goes to standard error, the figures as JSON to standard output; `zeropage bench engine` starts this and prints them.
//
// How it is measured, and why so, is in README.md.

import { readFileSync } from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { measureStartup } from '../startup.mjs';
import { median, round } from '../statistics.mjs';
import { EMULATORS, QEMU } from './emulators.mjs';
import { idleMoment, run } from './process.mjs';

const { values: options } = parseArgs({
  options: {
    emulators: { type: 'string', default: 'zeropage' },
    only: { type: 'string' }, // workloads
    reps: { type: 'string', default: '3' }, // clean pairs of runs to reach
    extra: { type: 'string', default: '3' }, // further rounds for who is short of clean pairs
    target: { type: 'string', default: '1' }, // seconds between the two runs of a pair
    'quiet-wait': { type: 'string', default: '10' }, // seconds to wait for an idle moment
    starts: { type: 'string', default: '10' }, // of the tiny guest; 0: none
    'check-only': { type: 'boolean', default: false },
  },
});
const emulators = options.emulators.split(',');
const reps = Number(options.reps);
const rounds = reps + Number(options.extra);
const targetMs = Number(options.target) * 1000;
const quietWait = Number(options['quiet-wait']);

/** The longer run of a pair has this many times the iterations of the shorter one. */
const FACTOR = 3;
/** A pair is clean when others kept less than this many CPUs busy. */
const MAX_FOREIGN = 0.15;
/** A difference shorter than this is noise. */
const LEAST_DIFFERENCE_MS = 50;

process.stderr.on('error', () => {}); // nobody reads our progress: carry on
const say = (text) => process.stderr.write(`${text}\n`);
const { workloads } = JSON.parse(readFileSync(new URL('workloads.json', import.meta.url), 'utf8'));
const wanted = options.only?.split(',');
const images = [32, 64].flatMap((bits) =>
  workloads
    .filter(({ name, insns }) => bits in insns && (!wanted || wanted.includes(name)))
    .map((workload) => ({ workload, bits, label: `${workload.name}-${bits}` })),
);

/** One run of one image with n iterations; the guest says itself how many it did, and what came out. */
async function runOnce(emulator, { workload, bits, label }, n) {
  const image = fileURLToPath(new URL(`guests/bin/${label}.elf`, import.meta.url));
  const { lacks, command } = EMULATORS[emulator];
  const lack = lacks?.({ bits });
  if (lack) return { ok: false, reason: lack };
  if (n !== workload.check_n) await idleMoment(quietWait);
  const guest = { image, bits, cmdline: `n=${n}` };
  const result = await run(command(guest), { marks: { start: 'START', done: 'DONE' }, last: 'done' });
  if (!result.ok) return { ok: false, reason: result.reason };
  const check = result.lines.map((line) => /^CHECK .* n=(\d+) sum=([0-9a-f]{8})/.exec(line)).find(Boolean);
  if (!check) return { ok: false, reason: 'no CHECK line' };
  if (Number(check[1]) !== n) return { ok: false, reason: `ran ${check[1]} iterations where ${n} were asked for` };
  return { ok: true, sum: check[2], start: result.at.start, done: result.at.done, foreign: result.foreign };
}

let wrong = 0;
function disagree(result, reason) {
  wrong++;
  result.ok = false;
  result.reason = reason;
}

/** First every image once under every emulator, with few iterations: who can run it, and does the checksum agree? */
async function checkAll() {
  const results = [];
  for (const image of images) {
    const { workload, bits, label } = image;
    const entry = { name: workload.name, bits, about: workload.about, insns: workload.insns[bits], emulators: {} };
    results.push(entry);
    for (const emulator of emulators) {
      const { ok, reason, sum } = await runOnce(emulator, image, workload.check_n);
      const result = { ok, reason };
      entry.emulators[emulator] = result;
      if (ok && sum !== workload.check) disagree(result, `checksum ${sum}, and ${workload.check} is right`);
      if (!result.ok && !EMULATORS[emulator].lacks?.({ bits })) say(`${label} ${emulator}: n/a, ${result.reason}`);
    }
  }
  say(`checksums: ${images.length} images, ${wrong} wrong`);
  return results;
}

/** What is known about an image under an emulator while it is being timed. */
const timing = ({ n }, { pace }) => ({ n: Math.max(1, Math.round(n * pace)), pairs: [] });

/** One pair of runs, n and FACTOR × n iterations. The first pair finds the n for which they lie `target` apart: it may
 * take a few attempts, and the counts then stay. */
async function runPair(image, emulator, entry, state, sums) {
  for (let attempt = 0; ; attempt++) {
    const counts = [state.n, Math.round(state.n * FACTOR)];
    const runs = [];
    for (const n of counts) {
      const one = await runOnce(emulator, image, n);
      if (!one.ok) return Object.assign(entry.emulators[emulator], { ok: false, reason: one.reason });
      const known = sums.get(n) ?? { emulator, sum: one.sum };
      sums.set(n, known);
      if (known.sum !== one.sum)
        return disagree(entry.emulators[emulator], `checksum ${one.sum} at n=${n}, ${known.emulator} had ${known.sum}`);
      runs.push(one);
    }
    const [short, long] = runs;
    const difference = long.done - short.done;
    if (state.pairs.length === 0 && attempt < 3 && (difference < targetMs / 2 || difference > targetMs * 4)) {
      const n = Math.max(1, Math.round(state.n * Math.min(20, targetMs / Math.max(difference, targetMs / 20))));
      if (n !== state.n) {
        state.n = n;
        continue;
      }
    }
    const us = (difference * 1000) / (counts[1] - counts[0]);
    const warmup = short.done - short.start - (us * counts[0]) / 1000;
    const clean = Math.max(short.foreign, long.foreign) <= MAX_FOREIGN;
    state.pairs.push({ us, difference, warmup, start: short.start, clean });
    return;
  }
}

/** The figures of an image under an emulator: medians over the clean pairs, or over all where none is clean. */
function figures(result, insns, { pairs }) {
  const clean = pairs.filter((pair) => pair.clean);
  const used = clean.length ? clean : pairs;
  const of = (key) => used.map((pair) => pair[key]);
  if (median(of('difference')) < LEAST_DIFFERENCE_MS)
    return Object.assign(result, { ok: false, reason: 'too short to time' });
  const us = median(of('us'));
  Object.assign(result, {
    us,
    spread: (Math.max(...of('us')) - Math.min(...of('us'))) / 2 / us,
    mips: insns / us,
    startupMs: median(of('start')),
    warmupMs: median(of('warmup')),
    pairs: pairs.length,
    cleanPairs: clean.length,
  });
}

/** Then the timed runs, one emulator after the other and over again, so that a slow minute hits all alike. */
async function timeImage(image, entry) {
  const sums = new Map();
  const states = Object.fromEntries(
    emulators.map((emulator) => [emulator, timing(image.workload, EMULATORS[emulator])]),
  );
  const isShort = (emulator) => states[emulator].pairs.filter(({ clean }) => clean).length < reps;
  for (let round = 0; round < rounds; round++) {
    for (const emulator of emulators) {
      if (!entry.emulators[emulator].ok || (round >= reps && !isShort(emulator))) continue;
      await runPair(image, emulator, entry, states[emulator], sums);
    }
  }
  for (const emulator of emulators) {
    const result = entry.emulators[emulator];
    if (result.ok) figures(result, entry.insns, states[emulator]);
  }
}

const line = (entry) =>
  emulators.map((name) => {
    const { ok, us, cleanPairs, pairs } = entry.emulators[name];
    return ok ? `${name} ${round(us)} µs (${cleanPairs} of ${pairs} clean)` : `${name} n/a`;
  });

async function versions() {
  const found = { node: process.version };
  if (emulators.some((name) => name === 'qemu' || name === 'icount')) {
    const { lines } = await run([QEMU, '--version']);
    found.qemu = /version (\S+)/.exec(lines[0] ?? '')?.[1];
  }
  if (emulators.some((name) => name.startsWith('v86'))) {
    found.v86 = JSON.parse(readFileSync(new URL('node_modules/v86/package.json', import.meta.url), 'utf8')).version;
  }
  return found;
}

const loadBefore = os.loadavg()[0];
const found = await versions();
const results = await checkAll();
let startup;
if (!options['check-only']) {
  for (const [place, image] of images.entries()) {
    await timeImage(image, results[place]);
    say(`${place + 1} of ${images.length}, ${image.label}: ${line(results[place]).join(', ')}`);
  }
  if (Number(options.starts) > 0) startup = await measureStartup(Number(options.starts), quietWait);
}
const machine = {
  cpu: os.cpus()[0]?.model.trim(),
  cores: os.cpus().length,
  system: `${os.type()} ${os.release()}`,
  date: new Date().toISOString(),
  loadBefore,
  loadAfter: os.loadavg()[0],
};
process.stdout.write(
  `${JSON.stringify({ machine, versions: found, emulators, reps, checkOnly: options['check-only'], wrong, results, startup })}\n`,
);
process.exitCode = wrong ? 1 : 0;
