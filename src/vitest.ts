/** `zeropage/vitest`: what a kernel's own tests say about its boots.
 *
 *     await expectBoot('vmlinux', { via: 'xen-pv' }).toReach('setup_arch');
 *
 * Each expectation boots the kernel, traced, or takes the run that this object has made already; a run is the same every
 * time, so nothing is lost by that. A failure shows what there is to see: how far the guest came, what it called last, what
 * it printed, why it died. The error is made where the expectation stands, so a test runner points at that line.
 * Made for Vitest, and needs none of its modules: whatever counts a thrown error as a failure will do.
 * May not: print.   Next: cli/main.ts, the command line over the same rooms. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { VmError } from './base/errors.ts';
import type { BootPlan, BootSpec } from './boot/index.ts';
import { loadBaseline, saveBaseline } from './cli/baseline-folder.ts';
import { runPaths } from './cli/compare-run.ts';
import { readInitrd } from './cli/initrd-file.ts';
import { openState, stateToTrace } from './cli/snapshot.ts';
import { withSnapshotFile } from './cli/snapshot-host.ts';
import { planTraced, sha256 } from './cli/traced.ts';
import { BASELINE_INDEX } from './compare/baseline.ts';
import { changesSince } from './compare/changes.ts';
import type { Finding } from './compare/findings.ts';
import { sourceName } from './compare/names.ts';
import { nearest } from './compare/rules/nearest.ts';
import { type CrashReport, crashReport } from './machine/crash-report.ts';
import { type TracedKernel, type TracedRun, type TracedRunOptions, tracedRun } from './machine/traced-run.ts';
import { functionStarts } from './symbols/functions.ts';
import type { RunRecord } from './trace/run-record.ts';

export type ExpectBootOptions = {
  /** An entry path, or several: each expectation is then held against each of them. Default: the best one that the kernel
   * supports; for toMatchBaseline all that were stored. */
  via?: string | readonly string[];
  memory?: string | number;
  cmdline?: string;
  /** A file. */
  initrd?: string;
  /** A snapshot of this kernel (boot --save-state) to go on from, instead of booting it: a saved start_kernel makes tests
   * of large kernels quick. What ran before it is not seen. Path, memory, command line and initrd are those of the
   * snapshot. It fails when the kernel is not the one that was saved. */
  from?: string;
  /** A file to take symbols from, when the kernel has none. */
  symbols?: string;
  /** How far an expectation may run; it fails when it is not met by then. */
  maxInstructions?: number;
  /** Host seconds for each run. Default: 60. Give the test a longer timeout than that. */
  timeoutSeconds?: number;
};

export type BaselineOptions = {
  /** Store these runs instead of judging them. Default: when ZEROPAGE_UPDATE is set. */
  update?: boolean;
};

export type FunctionOptions = {
  /** Exactly so many times. */
  times?: number;
  /** A kernel without such a function has not run it; otherwise its absence fails also `not.toHaveRun`. */
  mayBeAbsent?: boolean;
};

/** Nothing runs before an expectation is awaited. `kernel` is a file or a built-in guest's name. */
export function expectBoot(kernel: string, options: ExpectBootOptions = {}): BootExpectation {
  const { via = 'auto' } = options;
  const paths = typeof via === 'string' ? [via] : [...new Set(via)];
  return new BootExpectation({ kernel, options, paths, runs: new Map() }, false);
}

type Subject = {
  kernel: string;
  options: ExpectBootOptions;
  paths: readonly string[];
  /** Runs to the end, by path. */
  runs: Map<string, Promise<Boot>>;
};

/** A run with what a message may need of it. */
type Boot = { record: RunRecord; functions: readonly string[]; crash: CrashReport | undefined };

/** Whether it holds, and what is so. */
type Judgement = { holds: boolean; sentence: string; hint?: string };

class ExpectationError extends Error {
  override name = 'AssertionError';
}

export class BootExpectation {
  readonly #subject: Subject;
  readonly #negated: boolean;

  constructor(subject: Subject, negated: boolean) {
    this.#subject = subject;
    this.#negated = negated;
  }

  get not(): BootExpectation {
    return new BootExpectation(this.#subject, !this.#negated);
  }

  /** The run to its end, as `boot --trace FILE.json` writes it: for expectations of your own. */
  async record(): Promise<RunRecord> {
    return (await this.#ended(this.#subject.paths[0])).record;
  }

  /** Execution comes to a symbol or an address. */
  toReach(place: string | bigint): Promise<void> {
    const name = typeof place === 'bigint' ? `0x${place.toString(16)}` : place;
    return this.#each('toReach', async (via) => {
      const boot = await this.#boot(via, { until: place });
      const at = boot.record.waypoints.find((waypoint) => waypoint.name === name)?.at;
      const sentence =
        at === undefined ? `${name} was not reached` : `${name} was reached after ${count(at)} instructions`;
      return { boot, holds: at !== undefined, sentence };
    });
  }

  /** A function was entered. */
  toHaveRun(name: string, { times, mayBeAbsent = false }: FunctionOptions = {}): Promise<void> {
    return this.#each('toHaveRun', async (via) => {
      const boot = await this.#ended(via);
      const ran = boot.record.functions.filter((run) => run.name === name || sourceName(run.name) === name);
      const entries = ran.reduce((sum, run) => sum + run.count, 0);
      if (ran.length === 0 && !mayBeAbsent) this.#checkName(name, boot);
      const first = ran[0];
      const sentence = first
        ? `${name} ran ${plural(entries)}, first after ${count(first.first)} instructions, ` +
          (first.caller ? `called from ${first.caller}` : 'by no call')
        : `${name} did not run`;
      const hint = times === undefined ? undefined : `asked for: ${plural(times)}`;
      return { boot, holds: times === undefined ? entries > 0 : entries === times, sentence, hint };
    });
  }

  /** The guest ends with exit code 0: powered off, or whatever else is a good end. */
  toEndWell(): Promise<void> {
    return this.#each('toEndWell', async (via) => {
      const boot = await this.#ended(via);
      const { reason, code, detail } = boot.record.exit;
      return { boot, holds: code === 0, sentence: `it ended with ${reason}, exit ${code}: ${detail}` };
    });
  }

  /** The console shows a text, or a match of an expression. */
  toPrint(what: string | RegExp): Promise<void> {
    return this.#each('toPrint', async (via) => {
      const boot = await this.#ended(via);
      const { console } = boot.record;
      const found = typeof what === 'string' ? console.includes(what) : console.search(what) >= 0;
      const shown = typeof what === 'string' ? JSON.stringify(what) : String(what);
      const lines = console.split('\n').map((line) => line.trimEnd());
      const near = found || typeof what !== 'string' ? undefined : nearest(what, lines);
      const hint = near === undefined ? undefined : `nearest line: ${near}`;
      return { boot, holds: found, sentence: `the console ${found ? 'shows' : 'does not show'} ${shown}`, hint };
    });
  }

  /** What has changed since the runs in a folder has changed on all paths alike. A folder that is not there is made, but
   * not where CI is set: there, a missing baseline is a failure. */
  async toMatchBaseline(folder: string, { update = isSet('ZEROPAGE_UPDATE') }: BaselineOptions = {}): Promise<void> {
    const failure = this.#failure('toMatchBaseline');
    if (this.#negated) throw this.#usage('not.toMatchBaseline', 'a change on one path only is never what is wanted');
    const { kernel, options } = this.#subject;
    if (options.from !== undefined)
      throw this.#usage('{ from } with toMatchBaseline', 'a baseline tells of whole boots through several paths');
    const stored = existsSync(join(folder, BASELINE_INDEX)) ? loadBaseline(folder) : undefined;
    if (!stored && !update && isSet('CI')) {
      failure.message = `there is no baseline in ${resolve(folder)}\n  make one where CI is not set, and commit it`;
      throw failure;
    }
    const asked = options.via === undefined ? undefined : this.#subject.paths;
    const now = await runPaths(kernel, {
      via: asked ?? stored?.records.map(({ via }) => via),
      memory: options.memory,
      cmdline: options.cmdline,
      initrd: await initrdOf(options),
      symbols: options.symbols,
      timeoutSeconds: options.timeoutSeconds ?? DEFAULT_SECONDS,
      maxInstructions: options.maxInstructions,
    });
    if (now.records.length < 2) {
      throw this.#usage(
        'toMatchBaseline',
        'a baseline tells what changed on one path and not on the others: give several',
      );
    }
    if (!stored || update) {
      saveBaseline(folder, now);
      return;
    }
    const { findings, paths } = changesSince(stored, now);
    if (findings.length === 0) return;
    const told = findings.map(findingText).join('\n\n');
    failure.message =
      `${kernel} has changed on some of its paths (${paths.join(', ')}) since ${folder}:\n\n${told}\n\n` +
      '  if that is meant: ZEROPAGE_UPDATE=1, or toMatchBaseline(folder, { update: true })';
    throw failure;
  }

  async #each(method: string, judge: (via: string) => Promise<Judgement & { boot: Boot }>): Promise<void> {
    const failure = this.#failure(method);
    for (const via of this.#subject.paths) {
      const { boot, holds, sentence, hint } = await judge(via);
      if (holds !== this.#negated) continue;
      failure.message = message(boot, `${sentence}${this.#negated ? ', and should not' : ''}`, hint);
      throw failure;
    }
  }

  /** To be called before anything is awaited: the stack then leads to the test. */
  #failure(method: string): ExpectationError {
    const failure = new ExpectationError();
    Error.captureStackTrace(failure, (this as unknown as Record<string, () => void>)[method]);
    return failure;
  }

  #ended(via: string): Promise<Boot> {
    const { runs } = this.#subject;
    let run = runs.get(via);
    if (!run) {
      run = this.#boot(via, {});
      runs.set(via, run);
    }
    return run;
  }

  async #boot(via: string, { until }: { until?: string | bigint }): Promise<Boot> {
    const { kernel, options } = this.#subject;
    const { memory, cmdline, symbols, maxInstructions, timeoutSeconds = DEFAULT_SECONDS } = options;
    const limits = { until, maxInstructions, timeoutSeconds };
    const run = async (plan: BootPlan, names: TracedKernel, create?: TracedRunOptions['create']): Promise<Boot> => {
      const traced = tracedRun(plan, { kernel: names, sha256, ...limits, ...(create && { create }) });
      return bootOf(
        await traced.catch((error: unknown) => {
          if (error instanceof VmError && typeof until === 'string') addHint(error, until, namesOf(names.symbols));
          throw error;
        }),
        names,
      );
    };
    if (options.from !== undefined) {
      this.#checkFrom(options.from);
      return withSnapshotFile(options.from, async (source) => {
        const state = await openState(source, kernel);
        const names = await stateToTrace(state, symbols, true);
        return run(state.plan, names, (plan, made) => state.restore(plan, made ?? {}));
      });
    }
    const spec: BootSpec = { via: via as BootSpec['via'], memory, cmdline, initrd: await initrdOf(options) };
    const traced = await planTraced(kernel, spec, symbols);
    return run(traced.plan, traced.kernel);
  }

  /** What a snapshot has settled cannot be asked for again. */
  #checkFrom(from: string): void {
    const { via, memory, cmdline, initrd } = this.#subject.options;
    const given = Object.entries({ via, memory, cmdline, initrd }).find(([, value]) => value !== undefined);
    if (!given) return;
    throw this.#usage(
      `{ from: ${JSON.stringify(from)}, ${given[0]} }`,
      'a snapshot goes on with what it was made with',
    );
  }

  /** A test that asks for a misspelt function must not pass because it never ran. */
  #checkName(name: string, { functions, record }: Boot): void {
    if (functions.some((known) => known === name || sourceName(known) === name)) return;
    const { kernel } = this.#subject;
    throw new VmError({
      what: `there is no function ${JSON.stringify(name)}`,
      where: `toHaveRun(${JSON.stringify(name)})`,
      why:
        functions.length === 0
          ? `${kernel} comes without symbols`
          : `${record.kernel.name} has ${count(functions.length)} others`,
      fix: functions.length === 0 ? 'give { symbols: FILE }' : suggestion(name, functions),
    });
  }

  #usage(what: string, why: string): VmError {
    return new VmError({
      what: `${what} cannot be asked`,
      where: `expectBoot(${JSON.stringify(this.#subject.kernel)})`,
      why,
      fix: 'leave `via` out, or name two paths or more',
    });
  }
}

const DEFAULT_SECONDS = 60;
const LAST_LINES = 8;
const LAST_FUNCTIONS = 5;

const isSet = (name: string) => !['', '0', 'false', undefined].includes(process.env[name]);
const count = (value: number) => value.toLocaleString('en');
const plural = (times: number) => (times === 1 ? 'once' : `${count(times)} times`);

async function initrdOf({ initrd }: ExpectBootOptions): Promise<Uint8Array | undefined> {
  return initrd === undefined ? undefined : (await readInitrd(initrd, false, 'initrd')).bytes;
}

function namesOf(symbols: Parameters<typeof functionStarts>[0] | undefined): string[] {
  if (!symbols) return [];
  const starts = functionStarts(symbols);
  return Array.from({ length: starts.count }, (_, index) => starts.nameAt(index));
}

/** What the run has to say for itself. */
function message({ record, crash }: Boot, sentence: string, hint: string | undefined): string {
  const { kernel, via, exit, instructions, waypoints, functions } = record;
  const lines = [`${kernel.name} via ${via}: ${sentence}`];
  if (hint) lines.push(`  ${hint}`);
  lines.push(`  the run: ${exit.reason}, exit ${exit.code}, after ${count(instructions)} instructions: ${exit.detail}`);
  const last = waypoints.filter(({ name }) => name !== 'end').at(-1);
  if (last) lines.push(`  last waypoint: ${last.name}, after ${count(last.at)} instructions`);
  const newest = functions.slice(-LAST_FUNCTIONS).map(({ name, caller }) => `${name} (from ${caller ?? 'no call'})`);
  if (newest.length > 0) lines.push(`  newest functions: ${newest.join(', ')}`);
  const fault = crash?.firstFault;
  if (fault) {
    const touching = fault.address ? `, touching ${fault.address}` : '';
    lines.push(
      `  first fault: ${fault.name} at ${fault.symbol ?? fault.rip}${touching}, after ${count(fault.instructions)} instructions`,
    );
    lines.push(...fault.code.map(({ current, at, text }) => `    ${current ? '>' : ' '} ${at}  ${text}`));
  }
  if (crash) lines.push(`  ended at ${crash.end.symbol ?? crash.end.rip}`);
  const shown = record.console.split('\n').map((line) => line.trimEnd());
  while (shown.at(-1) === '') shown.pop();
  lines.push(shown.length === 0 ? '  the console is empty' : '  last console lines:');
  lines.push(...shown.slice(-LAST_LINES).map((line) => `    | ${line}`));
  return lines.join('\n');
}

function findingText({ title, why, evidence }: Finding): string {
  const seen = evidence.map(
    ({ path, text, at }) => `    ${path}: ${text}${at === undefined ? '' : `, after ${count(at)} instructions`}`,
  );
  return [`  ${title}`, ...(why ? [`    ${why}`] : []), ...seen].join('\n');
}

async function bootOf({ record, exit, machine }: TracedRun, kernel: TracedKernel): Promise<Boot> {
  const crash = exit.code >= 4 ? await crashReport(machine.scene(0), (at) => machine.symbolise(at)) : undefined;
  return { record, functions: namesOf(kernel.symbols), crash };
}

function suggestion(name: string, functions: readonly string[]): string {
  const near = nearest(name, functions);
  const alike = functions.filter((known) => known.includes(name)).slice(0, 3);
  const names = [...new Set([...(near ? [near] : []), ...alike])];
  return names.length > 0
    ? `is it ${names.join(' or ')}?`
    : 'check the spelling; if the kernel may lack it, { mayBeAbsent: true }';
}

/** A name that is no symbol is refused before the run; the nearest one may be what was meant. */
function addHint(error: VmError, name: string, functions: readonly string[]): void {
  if (functions.includes(name) || functions.length === 0) return;
  error.message += `\n         ${suggestion(name, functions)}`;
}
