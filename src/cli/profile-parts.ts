/** Where a boot's time goes: the samples of V8's own profiler, sorted into the parts of this program.
 *
 * `node --cpu-prof` writes a tree of calls and, once a millisecond or so, the node that was running. A sample belongs to
 * the innermost function on its stack that some rule below claims; helpers of everybody (base, memory, Node's own
 * functions) belong to whoever has called them. What runs while a module is being loaded is a part of starting.
 * May not: start processes or print.   Next: cli/bench-boot-report.ts. */
import { VmError } from '../base/errors.ts';

export type Part =
  | 'start'
  | 'read'
  | 'place'
  | 'decode'
  | 'interpret'
  | 'tlb'
  | 'helpers'
  | 'devices'
  | 'trace'
  | 'garbage'
  | 'other';

/** In the order of the table. */
export const PARTS: readonly (readonly [part: Part, words: string])[] = [
  ['start', 'process start and modules'],
  ['read', 'reading and unpacking'],
  ['place', 'tables and placing'],
  ['decode', 'decoding'],
  ['interpret', 'interpreting (WebAssembly)'],
  ['tlb', 'TLB misses'],
  ['helpers', 'helpers and exceptions'],
  ['devices', 'devices, hypervisor, console, run loop'],
  ['trace', 'tracing'],
  ['garbage', 'garbage collection'],
  ['other', 'V8 itself, waiting, other'],
];

/** By the file below src or dist, without its ending, and the function: "engine/mmu slow". The first that matches. Each
 * file of the engine is named, so that a new one is a decision (a test asks for it). */
const OWN_FILES: readonly (readonly [file: RegExp, part: Part | 'caller'])[] = [
  [/^engine\/(blocks|code-fetch|decoder|record|variants|vector-variants) /, 'decode'],
  [/^engine\/(mmu|page-walk) /, 'tlb'],
  [/^engine\/cpu #port(String)?$/, 'devices'],
  [/^engine\/(access|cpu|cpu-state|core|fault-log|flags|halves|helper-insn|mode|peek|quick-[\w-]+) /, 'helpers'],
  [/^engine\/(reference|return-address|sse-[\w-]+|state|vector-reference|x87-[\w-]+|system\/[\w-]+) /, 'helpers'],
  [/^engine\/(event-tracer|walk-trace) /, 'trace'],
  [/^engine\/(core-bytes|emit\/[\w-]+) /, 'start'], // the core is made, or taken from where the build has put it
  [/^wasm\//, 'start'],
  [/^(trace|compare)\/|^machine\/(traced-run|capture|profile) |^cli\/(boot-trace|traced) /, 'trace'],
  [/^(machine|devices|personality)\/|^cli\/(boot|output|progress|interactive) /, 'devices'],
  [/^(image|unpack|initrd|symbols)\/|^cli\/(kernel-file|initrd-file|initrd-folder|files|host|symbols) /, 'read'],
  [/^boot\//, 'place'],
  [/^(base|layout|memory|x86)\//, 'caller'],
  [/^cli\/|^(index|vitest) /, 'start'],
]; // biome-ignore format: a table

/** By the profiler's own names and addresses, for what is no file of ours. */
const FOREIGN: readonly (readonly [url: RegExp, part: Part | 'caller'])[] = [
  [/^wasm:/, 'interpret'],
  [/^node:internal\/(modules|bootstrap)\//, 'start'],
  [/^(node:|$)/, 'caller'],
  [/./, 'start'], // packages, and a loader between them and the source
];

/** Not functions: what V8 does instead of running one. */
const NO_FUNCTIONS: Readonly<Record<string, Part>> = {
  '(garbage collector)': 'garbage',
  '(program)': 'other',
  '(idle)': 'other',
};

export type CpuProfile = {
  nodes: {
    id: number;
    callFrame: { functionName: string; url: string; lineNumber: number; columnNumber: number };
    children?: number[];
  }[];
  samples: number[];
  /** Microseconds before each sample. */
  timeDeltas: number[];
};

export type PartTimes = { part: Part; seconds: number }[];

/** Seconds of each part, in the table's order. `root` is the URL of the folder above src or dist, with a slash. */
export function sortProfile({ nodes, samples, timeDeltas }: CpuProfile, root: string): PartTimes {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parts = new Map<number, Part>();
  // From the root down, without recursion: a guest's stack of calls may be deep.
  const children = new Set(nodes.flatMap((node) => node.children ?? []));
  const open = nodes
    .filter(({ id }) => !children.has(id))
    .map((node) => ({ node, above: 'other' as Part, body: false }));
  for (let next = open.pop(); next; next = open.pop()) {
    const { node, above } = next;
    const body = next.body || isModuleBody(node.callFrame, root);
    const part = body ? 'start' : partOf(node.callFrame, root, above);
    parts.set(node.id, NO_FUNCTIONS[node.callFrame.functionName] ?? part);
    for (const id of node.children ?? []) {
      const child = byId.get(id);
      if (child) open.push({ node: child, above: part, body });
    }
  }
  const microseconds = new Map<Part, number>();
  for (const [i, id] of samples.entries()) {
    const part = parts.get(id) ?? 'other';
    microseconds.set(part, (microseconds.get(part) ?? 0) + Math.max(0, timeDeltas[i] ?? 0));
  }
  return PARTS.map(([part]) => ({ part, seconds: (microseconds.get(part) ?? 0) / 1e6 }));
}

type Frame = CpuProfile['nodes'][number]['callFrame'];

function partOf({ url, functionName }: Frame, root: string, above: Part): Part {
  if (functionName === '(root)') return 'other';
  const file = ownFile(url, root);
  const part = file === undefined ? FOREIGN.find(([at]) => at.test(url))?.[1] : partOfFile(file, functionName);
  if (part !== 'caller') return part ?? 'other';
  // Node's own functions, before anything of ours has been called and after everything has ended.
  return above === 'other' ? 'start' : above;
}

/** Of a file as OWN_FILES writes them; undefined where no rule claims it. */
export function partOfFile(file: string, functionName = ''): Part | 'caller' | undefined {
  const place = `${file} ${functionName}`;
  return OWN_FILES.find(([pattern]) => pattern.test(place))?.[1];
}

function ownFile(url: string, root: string): string | undefined {
  if (!url.startsWith(root)) return undefined;
  return /^(?:src|dist)\/(.+)\.[jt]s$/.exec(url.slice(root.length))?.[1];
}

/** A module's top level; main.ts waits for the whole program in its own. */
function isModuleBody({ url, functionName, lineNumber, columnNumber }: Frame, root: string): boolean {
  const file = ownFile(url, root);
  return file !== undefined && file !== 'cli/main' && functionName === '' && lineNumber === 0 && columnNumber === 0;
}

/** A file that --cpu-prof has written. */
export function parseProfile(text: string, where: string): CpuProfile {
  try {
    const profile = JSON.parse(text) as CpuProfile;
    if (Array.isArray(profile.nodes) && Array.isArray(profile.samples) && Array.isArray(profile.timeDeltas))
      return profile;
  } catch {
    // Said below.
  }
  throw new VmError({
    what: 'the profile of a boot is not what V8 writes',
    where,
    why: 'it is no JSON with nodes, samples and timeDeltas',
    fix: 'look whether the disk is full, or leave the profile out with --no-profile',
  });
}
