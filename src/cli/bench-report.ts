/** What a benchmark run comes to: ratios, the project's targets, the printed table.
 *
 * The runner (bench/peers/bench.mjs) gives the time of one iteration for every image and emulator. A ratio is how many
 * times as fast as another emulator we are, in the same run: its time over ours. Ratios are averaged geometrically, so
 * that twice as fast here and half as fast there is no difference at all.
 * May not: measure, or know where figures come from.   Next: cli/paths.ts. */
import type { Style } from './text-table.ts';

export const OURS = 'zeropage';

/** One image under one emulator; the figures are absent where it could not run or was only checked. */
export type Figures = {
  ok: boolean;
  reason?: string;
  /** Microseconds for one iteration: the median of the pairs of runs. */
  us?: number;
  /** Half the range of the pairs, as a part of the median. */
  spread?: number;
  /** Guest instructions per microsecond. */
  mips?: number;
  startupMs?: number;
  warmupMs?: number;
  pairs?: number;
  /** Pairs during which nothing else kept the machine busy. With none, the figures are doubtful. */
  cleanPairs?: number;
};

export type ImageResult = { name: string; bits: number; emulators: Record<string, Figures> };

/** What the runner prints. */
export type Measured = {
  machine: { cpu?: string; cores: number; system: string; date: string; loadBefore: number; loadAfter: number };
  versions: { node: string; qemu?: string; v86?: string };
  emulators: readonly string[];
  checkOnly: boolean;
  /** Checksums that were not right. */
  wrong: number;
  results: readonly ImageResult[];
  startup?: { ok: boolean; reason?: string; starts: number; verdict: number; end: number; node: number };
};

export type Image = { name: string; bits: number };

export type Judgement = {
  what: string;
  /** Undefined when it could not be measured; `remark` then says why. */
  value: number | undefined;
  unit: '×' | ' ms';
  target: number;
  met: boolean | undefined;
  remark: string;
};

const isMandel = ({ name }: Image) => name.startsWith('mandel');

/** The aims of the engine, as ratios within one run. Mandelbrot is floating point, which is not what they are about. */
const RATIO_TARGETS: readonly { against: string; atLeast: number; over: string; takes: (image: Image) => boolean }[] = [
  {
    against: 'v86i',
    atLeast: 5,
    over: '32-bit images but mandel*',
    takes: (image) => image.bits === 32 && !isMandel(image),
  },
  { against: 'icount', atLeast: 0.3, over: 'all images but mandel*', takes: (image) => !isMandel(image) },
];
const VERDICT_WITHIN_MS = 400;

export function geometricMean(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined;
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** How many times as fast as `against` we are on an image; undefined when either of us has no figure. */
export function speedRatio({ emulators }: ImageResult, against: string): number | undefined {
  const [theirs, ours] = [emulators[against], emulators[OURS]];
  return theirs?.ok && ours?.ok && theirs.us && ours.us ? theirs.us / ours.us : undefined;
}

/** The targets and what this run says about them. `images` are all there are, measured or not. */
export function judge(measured: Measured, images: readonly Image[]): Judgement[] {
  const ratios = RATIO_TARGETS.map(({ against, atLeast, over, takes }): Judgement => {
    const values = measured.results.filter(takes).flatMap((result) => speedRatio(result, against) ?? []);
    const value = geometricMean(values);
    const count = `${values.length} of ${images.filter(takes).length} images`;
    const absent = measured.emulators.includes(against) ? 'no image ran in both' : `${against} did not take part`;
    return {
      what: `speed as a multiple of ${against}, ${over}`,
      value,
      unit: '×',
      target: atLeast,
      met: value === undefined ? undefined : value >= atLeast,
      remark: value === undefined ? absent : count,
    };
  });
  const { startup } = measured;
  const value = startup?.ok ? startup.verdict : undefined;
  return [
    ...ratios,
    {
      what: "process start to the tiny guest's verdict",
      value,
      unit: ' ms',
      target: VERDICT_WITHIN_MS,
      met: value === undefined ? undefined : value <= VERDICT_WITHIN_MS,
      remark: startup?.ok
        ? `median of ${startup.starts}; node -e 0 takes ${round(startup.node)} ms`
        : (startup?.reason ?? 'not measured'),
    },
  ];
}

/** Three digits, and no exponent however large it is. */
export function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** The whole answer, as Markdown that reads well on a terminal too. */
export function reportText(measured: Measured, images: readonly Image[], style: Style): string {
  const parts = [machineText(measured)];
  if (measured.checkOnly) parts.push(checksText(measured));
  else parts.push(timesTable(measured));
  const lacks = lacksText(measured.results);
  if (lacks) parts.push(lacks);
  if (measured.wrong)
    parts.push(style.bad(`${measured.wrong} wrong checksums: the figures mean nothing before that is clear.`));
  if (!measured.checkOnly) parts.push(targetsText(judge(measured, images), style));
  return `${parts.join('\n\n')}\n`;
}

function machineText({ machine, versions }: Measured): string {
  const software = [
    `Node ${versions.node.replace('v', '')}`,
    versions.qemu && `QEMU ${versions.qemu}`,
    versions.v86 && `v86 ${versions.v86}`,
  ];
  const load = `load ${machine.loadBefore.toFixed(2)} before, ${machine.loadAfter.toFixed(2)} after`;
  return [
    `${machine.cpu ?? 'unknown processor'}, ${machine.cores} cores`,
    machine.system,
    ...software,
    machine.date,
    load,
  ]
    .filter(Boolean)
    .join('; ');
}

function checksText({ emulators, results }: Measured): string {
  const lines = emulators.map((name) => {
    const right = results.filter(({ emulators: each }) => each[name].ok).length;
    return `- ${name}: ${right} of ${results.length} images ran with the right checksum`;
  });
  return lines.join('\n');
}

function timesTable({ emulators, results }: Measured): string {
  const others = emulators.filter((name) => name !== OURS);
  const head = ['image', ...emulators.map((name) => `${name} µs`), ...others.map((name) => `× ${name}`), 'our MIPS'];
  const rows = results.map((result) => [
    `${result.name}-${result.bits}`,
    ...emulators.map((name) => timeText(result.emulators[name])),
    ...others.map((name) => optional(speedRatio(result, name))),
    optional(result.emulators[OURS]?.mips, (value) => value.toFixed(0)),
  ]);
  const means = others.map((name) => geometricMean(results.flatMap((result) => speedRatio(result, name) ?? [])));
  rows.push(['geometric mean', ...emulators.map(() => ''), ...means.map((mean) => optional(mean)), '']);
  const doubtful = results.some(({ emulators: each }) => Object.values(each).some(isDoubtful));
  return [
    `Time of one iteration in µs; × is our speed as a multiple of the other's${doubtful ? '; ~ was disturbed by other work on this machine' : ''}.`,
    '',
    markdownTable(head, rows),
  ].join('\n');
}

const optional = (value: number | undefined, text: (value: number) => string = round) =>
  value === undefined ? 'n/a' : text(value);
const isDoubtful = ({ us, cleanPairs }: Figures) => us !== undefined && !cleanPairs;

function timeText(figures: Figures): string {
  const { ok, us, spread = 0, pairs = 0 } = figures;
  if (!ok || us === undefined) return 'n/a';
  return `${isDoubtful(figures) ? '~' : ''}${round(us)}${pairs > 1 ? ` ±${(spread * 100).toFixed(0)}%` : ''}`;
}

export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((cell, x) => Math.max(3, cell.length, ...rows.map((row) => row[x].length)));
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, x) => (x === 0 ? cell.padEnd(widths[x]) : cell.padStart(widths[x]))).join(' | ')} |`;
  const rule = widths.map((width, x) => (x === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`));
  return [line(head), `|${rule.join('|')}|`, ...rows.map(line)].join('\n');
}

/** What did not run, one line per reason. */
function lacksText(results: readonly ImageResult[]): string {
  const imagesByReason = new Map<string, ImageResult[]>();
  for (const result of results) {
    for (const [emulator, { ok, reason }] of Object.entries(result.emulators)) {
      const key = `${emulator}: ${reason}`;
      if (!ok) imagesByReason.set(key, [...(imagesByReason.get(key) ?? []), result]);
    }
  }
  if (imagesByReason.size === 0) return '';
  const which = (images: readonly ImageResult[]) => {
    const { bits } = images[0];
    const all = results.filter((result) => result.bits === bits);
    if (images.length === all.length && images.every((image) => image.bits === bits)) return `all ${bits}-bit images`;
    return images.map((image) => `${image.name}-${image.bits}`).join(', ');
  };
  const lines = [...imagesByReason].map(([reason, images]) => `- ${reason} (${which(images)})`);
  return ['Not available:', ...lines].join('\n');
}

function targetsText(judgements: readonly Judgement[], style: Style): string {
  const lines = judgements.map(({ what, value, unit, target, met, remark }) => {
    const bound = `${unit === '×' ? 'at least' : 'at most'} ${target}${unit}`;
    if (value === undefined) return `- ${what}: n/a, ${remark}; the target is ${bound}`;
    const verdict = met ? style.good('met') : style.bad('missed');
    return `- ${what}: ${round(value)}${unit} (${remark}); the target is ${bound}: ${verdict}`;
  });
  return ['Targets:', ...lines].join('\n');
}
