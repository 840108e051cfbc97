/** `compare`: one kernel through several entry paths, and what differs that should not.
 *
 * The paths run one after the other, each traced; compare/ judges the records. With --against it is the change since a
 * stored run that is judged, and only that. Standard output carries the findings, standard error how far the runs are.
 * May not: judge by itself.   Next: cli/guests-command.ts. */
import { type Command, Option } from 'commander';
import { parseSize } from '../base/numbers.ts';
import { FINDING_KINDS, KIND_MEANINGS } from '../compare/findings.ts';
import { comparePage, type HandedOver } from '../compare/html.ts';
import { junitXml } from '../compare/junit.ts';
import { sarifJson } from '../compare/sarif.ts';
import type { RunRecord } from '../trace/run-record.ts';
import { checkBaselineFolder, loadBaseline, saveBaseline } from './baseline-folder.ts';
import { judge, makeRules, pathsToRun, type Rules, type RulesText, type Verdict } from './compare-kernel.ts';
import { type CompareRunOptions, runPaths } from './compare-run.ts';
import { comparisonText } from './compare-text.ts';
import { version } from './exit-codes.ts';
import { checkWritable, writeFileWhole } from './files.ts';
import { readInitrd } from './initrd-file.ts';
import { readFileBytes } from './kernel-file.ts';
import { collect, parseCount, parsePlace, parseSeconds, UsageError } from './options.ts';
import { FdOutput } from './output.ts';
import { Progress } from './progress.ts';

type Options = {
  via?: string;
  memory: string;
  cmdline?: string;
  append?: string;
  initrd?: string;
  symbols?: string;
  waypoint?: (string | bigint)[];
  meeting?: string;
  until?: string;
  timeout: string;
  maxInstructions: string;
  rules?: string[];
  shippedRules: boolean;
  save?: string;
  against?: string;
  json?: boolean;
  junit?: string;
  sarif?: string;
  html?: string;
  quiet?: boolean;
};

const place = (text: string, option: string): string | bigint => {
  const parsed = parsePlace(text, option);
  return 'symbol' in parsed ? parsed.symbol : parsed.address;
};

export function addCompare(program: Command): void {
  program
    .command('compare')
    .description('boot a kernel through several entry paths and say where they differ')
    .argument('[kernel]', 'a kernel file, or the name of a built-in guest', 'tiny')
    .optionsGroup('What is booted:')
    .option('--via <paths>', 'entry paths, with commas between (default: all that the kernel supports)')
    .option('--memory <size>', 'RAM of the machine, as 64M or 2G', '256M')
    .option('--initrd <path>', 'initial RAM disk; a folder is packed')
    .option('--cmdline <string>', 'kernel command line')
    .option('--append <string>', 'the same, as QEMU calls it')
    .option(
      '--until <place>',
      'end each run at a symbol or 0xADDRESS, which is a good end: rest_init is far enough for most',
    )
    .option('--timeout <seconds>', 'for each path, time of the host', '300')
    .option('--max-instructions <n>', 'for each path', '20e9')
    .optionsGroup('What is looked at:')
    .option('--symbols <file>', 'an ELF file or System.map to take symbols from')
    .option(
      '--waypoint <place>',
      'a symbol or 0xADDRESS where state is captured, too (repeatable)',
      collect(place, '--waypoint'),
    )
    .option('--meeting <symbol>', 'where the paths meet (default: start_kernel)')
    .option(
      '--rules <file>',
      'rules beside the shipped ones (repeatable)',
      collect((text: string) => text, '--rules'),
    )
    .addOption(new Option('--no-shipped-rules', 'without the rules for Linux'))
    .optionsGroup('Change against change:')
    .option('--save <folder>', 'keep these runs as a baseline')
    .option('--against <folder>', 'judge what has changed since a baseline, on which paths')
    .optionsGroup('What is said:')
    .option('--json', 'for machines, on standard output')
    .option('--junit <file>', 'as JUnit XML')
    .option('--sarif <file>', 'as SARIF 2.1.0')
    .option('--html <file>', 'as a page for people: timeline, states side by side, lists')
    .option('--quiet', 'no progress')
    .addHelpText('after', () => HELP)
    .action(async (kernel: string, options: Options) => {
      process.exitCode = await compareCommand(kernel, options);
    });
}

const HELP = `
Paths meet in start_kernel at the latest. Before it each goes its own way; what must differ there is known and has a
reason, and what is left is told, most important first:
${FINDING_KINDS.map((kind) => `  ${kind.padEnd(14)} ${KIND_MEANINGS[kind]}`).join('\n')}

Examples:
  zeropage compare                                   the built-in guest through all its paths
  zeropage compare --cmdline plant=cr4-shadow        a historic bug, planted, and how it is told
  zeropage compare vmlinux --via linux64,pvh,xen-pv --append console=ttyS0 --until rest_init
  zeropage compare vmlinux --save good               keep the last good kernel's runs ...
  zeropage compare vmlinux --against good            ... and ask what a change did on one path and not on the others
  zeropage compare vmlinux --junit compare.xml --sarif compare.sarif
  zeropage compare vmlinux --html compare.html       a page to read and to pass on
  zeropage compare vmlinux --rules my.rules          what belongs to which path, in your words (README, Rules)

A change that reached all paths is a note, one that reached some of them an init mismatch. Baselines are compared by
names and sets, never by counts or addresses, so a new message or a moved function alarms nobody.

Exit codes:
  0  no findings                       1  findings
  4  every path crashes                5  no path comes to an end
  2  wrong usage                       3  a file or a plan is bad
`;

async function compareCommand(kernel: string, options: Options): Promise<number> {
  if (options.cmdline !== undefined && options.append !== undefined) {
    throw new UsageError({
      what: 'two command lines were given',
      where: '--cmdline, --append',
      why: 'they are two names of one option',
      fix: 'leave one of them out',
    });
  }
  const outputs = [
    ['--junit', options.junit],
    ['--sarif', options.sarif],
    ['--html', options.html],
  ] as const;
  for (const [option, file] of outputs) if (file !== undefined) checkWritable(file, option);
  if (options.save !== undefined) checkBaselineFolder(options.save);
  const rules = await readRules(options);
  const stored = options.against === undefined ? undefined : loadBaseline(options.against);
  const run = await runOptions(options);
  const vias = pathsToRun(run.via, stored, options.against);
  const progress = new Progress(new FdOutput(2), process.stderr.isTTY === true);
  const stop = new AbortController();
  const interrupt = (signal: NodeJS.Signals) => {
    if (stop.signal.aborted) process.exit(signal === 'SIGINT' ? 130 : 143);
    stop.abort(signal);
  };
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  try {
    const runs = await runPaths(kernel, {
      ...run,
      via: vias,
      signal: stop.signal,
      onProgress: (via, instructions) => {
        if (!options.quiet)
          progress.update(
            (s) => `zeropage: ${via}: ${instructions.toLocaleString('en')} instructions, ${s.toFixed(0)} s`,
          );
      },
    });
    progress.clear();
    if (stop.signal.aborted) return stop.signal.reason === 'SIGINT' ? 130 : 143;
    const { meeting, against } = options;
    const verdict = judge(runs, { stored, rules, meeting, against });
    publish(verdict, runs, options);
    if (options.save !== undefined) saveBaseline(options.save, runs);
    return verdict.exitCode;
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
    progress.clear();
  }
}

async function runOptions(options: Options): Promise<CompareRunOptions> {
  const { via, memory, cmdline, append, initrd, symbols, waypoint } = options;
  return {
    via: via
      ?.split(',')
      .map((name) => name.trim())
      .filter((name) => name !== ''),
    memory: parseSize(memory, '--memory'),
    cmdline: cmdline ?? append,
    initrd: initrd === undefined ? undefined : (await readInitrd(initrd, true)).bytes,
    symbols,
    waypoints: [...(waypoint ?? []), ...(options.meeting === undefined ? [] : [options.meeting])],
    until: options.until === undefined ? undefined : place(options.until, '--until'),
    timeoutSeconds: parseSeconds(options.timeout, '--timeout'),
    maxInstructions: parseCount(options.maxInstructions, '--max-instructions', 1),
  };
}

async function readRules({ rules = [], shippedRules }: Options): Promise<Rules> {
  const own: RulesText[] = [];
  for (const file of rules) {
    own.push({ name: file, text: new TextDecoder().decode(await readFileBytes(file, '--rules')) });
  }
  return makeRules(own, shippedRules);
}

type Runs = { records: readonly RunRecord[]; handedOver: HandedOver[] };

function publish(verdict: Verdict, { records, handedOver }: Runs, options: Options): void {
  const { kernel, paths, findings, notes } = verdict;
  const judged = { kernel, paths: paths.map(({ via }) => via), findings };
  if (options.junit !== undefined) writeFileWhole(options.junit, junitXml(judged));
  if (options.sarif !== undefined) writeFileWhole(options.sarif, sarifJson({ ...judged, notes }, version()));
  if (options.html !== undefined) {
    const { against } = verdict;
    writeFileWhole(options.html, comparePage({ comparison: verdict, records, handedOver, against }));
  }
  const output = new FdOutput(1);
  if (options.json) output.write(`${JSON.stringify(verdict, null, 2)}\n`);
  else {
    const colour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
    output.write(comparisonText(verdict, process.stdout.columns ?? 120, colour));
  }
}
