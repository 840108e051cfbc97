/** A baseline: the runs of one day, kept in a folder, so that a later day can ask what has changed.
 *
 *     index.json               which paths, of which kernels, with which inputs; schema and versions
 *     linux64.json ...         one record for each path, as `boot --trace` writes it
 *     functions-1a2b3c4d.txt   the names of all functions of a kernel, one a line, by the kernel's hash; T behind a global one
 *
 * The list of functions is what tells a function that is no longer called from one that is no longer there. All of it is
 * text that a version control system can keep and show.
 * May not: open files; it names them, and whoever calls reads and writes.   Next: compare/junit.ts. */
import { VmError } from '../base/errors.ts';
import { RECORD_SCHEMA, type RunRecord, recordJson } from '../trace/run-record.ts';
import type { RunSet } from './changes.ts';
import { sourceName } from './names.ts';

/** Rises when a field changes its meaning or goes away. */
export const BASELINE_SCHEMA = 1;
export const BASELINE_INDEX = 'index.json';

/** A folder that is no baseline, or a damaged one. */
export class BaselineError extends VmError {}

type Index = {
  schema: number;
  recordSchema: number;
  /** Version of zeropage that wrote it. */
  zeropage: string;
  paths: { via: string; file: string; kernel: string; sha256: string; version?: string; functions?: string }[];
};

/** File name → contents. */
export function baselineFiles({ records, known, globals }: RunSet, zeropage: string): Map<string, string> {
  const files = new Map<string, string>();
  const index: Index = { schema: BASELINE_SCHEMA, recordSchema: RECORD_SCHEMA, zeropage, paths: [] };
  for (const record of records) {
    const { via, kernel } = record;
    const names = known(via);
    const functions = names && `functions-${kernel.sha256.slice(0, 8)}.txt`;
    const others = globals?.(via);
    const lines = [...(names ?? [])].sort().map((name) => (others?.has(name) ? `${name} T` : name));
    if (functions) files.set(functions, `${lines.join('\n')}\n`);
    const version = kernel.version === undefined ? {} : { version: kernel.version };
    index.paths.push({
      ...{ via, file: `${via}.json`, kernel: kernel.name, sha256: kernel.sha256, ...version },
      ...(functions !== undefined && { functions }),
    });
    files.set(`${via}.json`, recordJson(record));
  }
  // The index comes last: a folder with one is whole.
  files.set(BASELINE_INDEX, `${JSON.stringify(index, null, 2)}\n`);
  return files;
}

/** `read` gives a file's text, or undefined when there is none; `where` is how messages call the folder. */
export function readBaseline(read: (file: string) => string | undefined, where: string): RunSet {
  const index = parsed<Index>(read(BASELINE_INDEX), BASELINE_INDEX, where);
  checkSchema('schema', index.schema, BASELINE_SCHEMA, where);
  checkSchema('recordSchema', index.recordSchema, RECORD_SCHEMA, where);
  if (!Array.isArray(index.paths) || !index.paths.every(isEntry)) {
    throw damaged(BASELINE_INDEX, where, 'its list of paths is no list of { via, file, kernel, sha256 }');
  }
  const known = new Map<string, ReadonlySet<string>>();
  const globals = new Map<string, ReadonlySet<string>>();
  const records = index.paths.map(({ via, file, functions }) => {
    const record = parsed<RunRecord>(read(file), file, where);
    checkRecord(record, via, file, where);
    const names = functions === undefined ? undefined : read(functions);
    if (functions !== undefined && names === undefined) throw damaged(functions, where, 'there is no such file');
    const lines = (names ?? '').split('\n').filter((line) => line !== '');
    const marked = lines.filter((line) => line.endsWith(' T')).map((line) => line.slice(0, -2));
    if (names !== undefined) known.set(via, new Set(lines.map((line) => line.replace(/ T$/, ''))));
    if (marked.length > 0) globals.set(via, new Set(marked));
    return record;
  });
  return { records, known: (via) => known.get(via), globals: (via) => globals.get(via) };
}

/** The names of functions as comparisons ask for them. */
export function functionNames(names: Iterable<string>): ReadonlySet<string> {
  const out = new Set<string>();
  for (const name of names) out.add(sourceName(name));
  return out;
}

/** Names that a folder's index may lead to: nothing outside the folder is ever opened. */
const PLAIN_FILE = /^[\w][\w.-]*$/;

function isEntry(entry: Index['paths'][number]): boolean {
  const { via, file, functions } = entry ?? {};
  return (
    typeof via === 'string' &&
    typeof file === 'string' &&
    PLAIN_FILE.test(file) &&
    (functions === undefined || (typeof functions === 'string' && PLAIN_FILE.test(functions)))
  );
}

function parsed<T>(text: string | undefined, file: string, where: string): T {
  if (text === undefined) {
    throw new BaselineError({
      what: `${where} holds no baseline`,
      where: `--against ${where}`,
      why: `it has no ${file}`,
      fix: `make one with --save ${where}`,
    });
  }
  try {
    const value = JSON.parse(text) as T;
    if (typeof value === 'object' && value !== null) return value;
  } catch (error) {
    throw damaged(file, where, (error as Error).message);
  }
  throw damaged(file, where, 'it is no JSON object');
}

function checkSchema(name: string, found: number, wanted: number, where: string): void {
  if (found === wanted) return;
  throw new BaselineError({
    what: `${where} was written by another version`,
    where: `--against ${where}`,
    why: `its ${name} is ${JSON.stringify(found)}, and this version reads ${wanted}`,
    fix: 'run --save again with the kernel that was good',
  });
}

/** As far as a comparison relies on it. */
function checkRecord(record: RunRecord, via: string, file: string, where: string): void {
  checkSchema(`${file}: schema`, record.schema, RECORD_SCHEMA, where);
  const lists = [record.waypoints, record.functions, record.events].every(Array.isArray);
  const rows =
    lists &&
    record.functions.every((each) => typeof each?.name === 'string' && /^0x[0-9a-f]+$/.test(each.address)) &&
    record.waypoints.every(({ name, state }) => typeof name === 'string' && Array.isArray(state?.objects)) &&
    record.events.every((each) => typeof each?.kind === 'string' && typeof each.what === 'string');
  if (record.via === via && rows && typeof record.exit?.code === 'number' && typeof record.console === 'string') return;
  throw damaged(file, where, `it is no record of a run through ${via}`);
}

function damaged(file: string, where: string, why: string): BaselineError {
  return new BaselineError({
    what: `${where} is damaged`,
    where: `--against ${where}, ${file}`,
    why,
    fix: 'take the folder from version control, or run --save again with the kernel that was good',
  });
}
