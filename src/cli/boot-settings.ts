/** What the options of `boot` mean together: checked as far as possible before any file is opened.
 *
 * Next: cli/files.ts. */
import { formatSize, parseNumber, parseSize } from '../base/numbers.ts';
import { DEFAULT_MEMORY } from '../boot/index.ts';
import type { ScriptStep } from '../machine/input.ts';
import type { TextPattern } from '../machine/pattern.ts';
import type { FrameOrder } from '../memory/machine-frames.ts';
import { checkRamSize } from '../memory/memory-map.ts';
import { TRACE_FORMATS, type TraceFormat, traceFormat } from '../trace/formats/formats.ts';
import { parseCpuModel } from '../x86/cpuid.ts';
import { checkWritable } from './files.ts';
import type { LogLevel } from './logging.ts';
import {
  type DumpRequest,
  inputBytes,
  type Place,
  parseCount,
  parseDate,
  parseFrameOrder,
  parsePattern,
  parsePlace,
  parseSeconds,
  UsageError,
  unescapeText,
} from './options.ts';
import type { SnapshotOptions } from './snapshot.ts';

/** As commander hands them over. */
export type BootOptions = SnapshotOptions & {
  via: string;
  memory?: string;
  initrd?: string;
  init?: string;
  cmdline?: string;
  append?: string;
  unpack?: 'host' | 'guest';
  load?: string;
  mfn?: string;
  cpu?: string;
  rtc?: string;
  timeout?: string;
  maxInstructions?: string;
  expect?: string;
  until?: string;
  haltOk?: boolean;
  debugExitSuccess?: string;
  interactive?: boolean;
  send?: string[];
  after?: string[];
  recordInput?: string;
  replayInput?: string;
  report?: string;
  trace?: string[];
  waypoint?: string[];
  dump?: DumpRequest[];
  symbols?: string;
  lastBlocks: string;
  engine: 'interpreter' | 'auto';
  quiet?: boolean;
  logLevel: LogLevel;
};

export type BootSettings = {
  memorySize: number;
  cmdline: string | undefined;
  load: number | undefined;
  mfn: FrameOrder | undefined;
  cpu: string | undefined;
  rtcSeconds: number | undefined;
  timeoutSeconds: number | undefined;
  maxInstructions: number | undefined;
  expect: TextPattern | undefined;
  until: Place | undefined;
  saveAt: Place | undefined;
  debugExitSuccess: number | undefined;
  script: ScriptStep[];
  lastBlocks: number;
  traces: TraceRequest[];
  waypoints: (string | bigint)[];
};

export type TraceRequest = { file: string; format: TraceFormat };

export function bootSettings(options: BootOptions): BootSettings {
  const { cmdline, append, interactive, replayInput, send = [], after = [], dump = [], trace = [] } = options;
  const given = <T>(text: string | undefined, parse: (text: string, option: string) => T, option: string) =>
    text === undefined ? undefined : parse(text, option);
  if (cmdline !== undefined && append !== undefined) {
    throw conflict('two command lines were given', '--cmdline, --append', 'they are two names of one option');
  }
  if (options.initrd !== undefined && options.init !== undefined) {
    throw conflict('two initial RAM disks were given', '--initrd, --init', '--init makes one of its own');
  }
  if (replayInput !== undefined && (interactive || send.length > 0)) {
    const other = interactive ? '--interactive' : '--send';
    throw conflict('input comes from two places', `--replay-input, ${other}`, 'a recording holds all input of its run');
  }
  const memorySize = options.memory === undefined ? DEFAULT_MEMORY : parseSize(options.memory, '--memory');
  checkRamSize(memorySize);
  for (const { at, length } of dump) {
    if (at + length > memorySize) {
      throw new UsageError({
        what: `--dump reaches beyond the guest's memory`,
        where: `--dump 0x${at.toString(16)}:${length}`,
        why: `RAM is ${formatSize(memorySize)}`,
        fix: 'dump less, or give the guest more with --memory',
      });
    }
  }
  const outputs = [
    ['--report', options.report],
    ['--record-input', options.recordInput],
    ['--save-state', options.saveState],
    ...dump.map(({ file }) => ['--dump', file] as const),
    ...trace.map((file) => ['--trace', file] as const),
  ] as const;
  const traces = trace.map(traceRequest);
  const taken = new Map<string, string>();
  for (const [option, file] of outputs) {
    if (file === undefined) continue;
    checkWritable(file, option);
    const other = taken.get(file);
    // Devices may be written twice; a file would keep only the last.
    if (other !== undefined && !file.startsWith('/dev/')) {
      throw new UsageError({
        what: `two outputs go to one file: ${file}`,
        where: `${other} and ${option}`,
        why: 'the second would replace the first',
        fix: 'name two files',
      });
    }
    taken.set(file, option);
  }
  return {
    memorySize,
    cmdline: cmdline ?? append,
    load: given(options.load, parseSize, '--load'),
    mfn: given(options.mfn, parseFrameOrder, '--mfn'),
    cpu: given(options.cpu, checkedCpuModel, '--cpu'),
    rtcSeconds: given(options.rtc, (text, option) => parseDate(text, option).getTime() / 1000, '--rtc'),
    timeoutSeconds: given(options.timeout, parseSeconds, '--timeout'),
    maxInstructions: given(
      options.maxInstructions,
      (text, option) => parseCount(text, option, 1),
      '--max-instructions',
    ),
    expect: given(options.expect, parsePattern, '--expect'),
    until: given(options.until, parsePlace, '--until'),
    saveAt: given(options.saveAt, parsePlace, '--save-at'),
    debugExitSuccess: given(options.debugExitSuccess, parseNumber, '--debug-exit-success'),
    script: pairs(send, after),
    lastBlocks: parseCount(options.lastBlocks, '--last-blocks', 0, 10_000),
    traces,
    waypoints: (options.waypoint ?? []).map((text) => {
      const place = parsePlace(text, '--waypoint');
      return 'symbol' in place ? place.symbol : place.address;
    }),
  };
}

/** The end of the name chooses the format. */
function traceRequest(file: string): TraceRequest {
  const format = traceFormat(file);
  if (format) return { file, format };
  throw new UsageError({
    what: `--trace does not know what to write into ${file}`,
    where: `--trace ${file}`,
    why: `the end of the name chooses the format: ${TRACE_FORMATS.map(({ ending }) => ending).join(', ')}`,
    fix: 'give the file one of these endings',
  });
}

/** The model is made when the plan is known, since flat code starts from another one; mistakes are found now. */
function checkedCpuModel(text: string): string {
  parseCpuModel(text);
  return text;
}

/** The first --send goes with the first --after, and so on, in whatever order they stand on the line. */
function pairs(send: readonly string[], after: readonly string[]): ScriptStep[] {
  if (after.length > 0 && send.length !== after.length) {
    throw conflict(
      `${send.length} --send and ${after.length} --after were given`,
      '--send, --after',
      'each text waits for one pattern',
    );
  }
  return send.map((text, i) => ({
    send: inputBytes(unescapeText(text, '--send')),
    ...(after.length > 0 && { after: parsePattern(after[i], '--after') }),
  }));
}

function conflict(what: string, where: string, why: string): UsageError {
  return new UsageError({ what, where, why, fix: 'leave one of them out' });
}
