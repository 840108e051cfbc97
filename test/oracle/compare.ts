/** compare: what differs between an expected outcome and an actual one, without what is undefined, and how to say it.
 *
 * Left out are undefined flags of a completed instruction and what undefined.ts lists under LOOSELY.
 * Next: test/oracle/replay.test.ts. */
import { Decoder, Formatter, FormatterSyntax } from 'iced-x86';
import { hex } from '../../src/base/numbers.ts';
import { GPR_NAMES } from '../../src/x86/vcpu-state.ts';
import type { CpuStart } from '../engine/cpu-driver.ts';
import { USER_CS } from './sandbox.ts';
import type { Sequence } from './sequences.ts';
import type { Case } from './states.ts';
import type { Outcome } from './vectors.ts';

/** CF PF AF ZF SF TF IF DF OF IOPL NT AC ID. */
const COMPARED_FLAGS = 0x24_7fd5n;
const USER_END = 0x7fff_ffff_f000n;
const PRESENT = 1;
const RSP = 4;
/** #PF and #AC. */
const ALIGNMENT_OR_PAGE = new Set<number | undefined>([14, 17]);

const SEGMENTS = ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const;

type Fault = NonNullable<Outcome['fault']>;

function faultText(fault: Fault | undefined): string {
  if (!fault) return 'none';
  const { vector, errorCode, cr2 } = fault;
  const name = { 0: '#DE', 1: '#DB', 3: '#BP', 4: '#OF', 5: '#BR', 6: '#UD', 11: '#NP', 12: '#SS', 13: '#GP', 14: '#PF', 17: '#AC' }[vector]; // biome-ignore format: short
  const where = cr2 === undefined ? '' : ` at ${hex(cr2)}`;
  return `${name ?? `vector ${vector}`}${errorCode === undefined ? '' : `(${hex(errorCode)})`}${where}`;
}

function sanitized(fault: Fault | undefined): Fault | undefined {
  if (fault?.cr2 === undefined || fault.cr2 < USER_END) return fault;
  return { ...fault, errorCode: (fault.errorCode ?? 0) | PRESENT };
}

const FLAG_NAMES: [number, string][] = [
  [0, 'CF'], [2, 'PF'], [4, 'AF'], [6, 'ZF'], [7, 'SF'], [8, 'TF'], [9, 'IF'], [10, 'DF'], [11, 'OF'], [12, 'IOPL0'],
  [13, 'IOPL1'], [14, 'NT'], [18, 'AC'], [21, 'ID'],
]; // biome-ignore format: a table
const flagText = (flags: bigint, among: bigint): string =>
  FLAG_NAMES.filter(([bit]) => (among >> BigInt(bit)) & 1n)
    .map(([bit, name]) => `${name}=${(flags >> BigInt(bit)) & 1n}`)
    .join(' ');

/** One line for each thing that differs; empty when the two agree. */
export function differences(c: Case, expected: Outcome, actual: Outcome): string[] {
  const isFaulted = expected.fault !== undefined;
  const undefinedFlags = isFaulted ? 0 : c.undefinedFlags;
  const isLoose = isFaulted && c.form.row.several !== undefined;
  const gpr = c.form.row.several === 'registers' ? expected.gpr : actual.gpr;
  const loosened = isLoose && actual.fault ? { ...actual, gpr, fault: expected.fault } : actual;
  return outcomeDifferences(c.start, expected, loosened, undefinedFlags, !isLoose);
}

/** The same for a program: its flags may be undefined where it faults. */
export function programDifferences(c: Sequence, expected: Outcome, actual: Outcome): string[] {
  const undefinedFlags = c.undefinedAt.get(Number(expected.rip)) ?? 0;
  return outcomeDifferences(c.start, expected, actual, undefinedFlags, true);
}

function outcomeDifferences(
  start: CpuStart,
  expected: Outcome,
  actual: Outcome,
  undefinedFlags: number,
  isMemoryCompared: boolean,
): string[] {
  const lines: string[] = [];
  const differ = (what: string, e: string, a: string): void => {
    if (e !== a) lines.push(`${what}: expected ${e}, got ${a}`);
  };
  const isOrder = ALIGNMENT_OR_PAGE.has(expected.fault?.vector) && ALIGNMENT_OR_PAGE.has(actual.fault?.vector);
  const isSame = isOrder && expected.fault?.vector !== actual.fault?.vector;
  if (!isSame) differ('exception', faultText(sanitized(expected.fault)), faultText(sanitized(actual.fault)));
  const wide = start.mode === 64;
  const count = wide ? 16 : 8;
  const isStill64 = (expected.selectors.cs & ~3) === (USER_CS & ~3);
  for (let i = 0; i < count; i++) {
    const isWhole = wide && (i !== RSP || isStill64);
    const [e, a] = [expected.gpr[i], actual.gpr[i]].map((value) => (isWhole ? value : value & 0xffff_ffffn));
    if (e !== a) differ(GPR_NAMES[i], hex(e), hex(a));
  }
  if (expected.rip !== actual.rip) differ('rip', hex(expected.rip), hex(actual.rip));
  const among = COMPARED_FLAGS & ~BigInt(undefinedFlags);
  const wrong = (expected.rflags ^ actual.rflags) & among;
  if (wrong) differ('rflags', flagText(expected.rflags, wrong), flagText(actual.rflags, wrong));
  for (const name of SEGMENTS) {
    // The way out of the host's kernel clears the RPL of a null selector.
    const [e, a] = [expected.selectors[name], actual.selectors[name]].map((x) => ((x & ~3) === 0 ? 0 : x));
    if (e !== a) differ(name, hex(e), hex(a));
  }
  // What loading a null selector does to a base differs between processors.
  const isNulled = (name: 'fs' | 'gs', base: bigint): boolean =>
    (expected.selectors[name] & ~3) === 0 && base === 0n && start.segments[name].base !== 0n;
  if (wide && !isNulled('fs', expected.fsBase)) differ('fs base', hex(expected.fsBase), hex(actual.fsBase));
  if (wide && !isNulled('gs', expected.gsBase)) differ('gs base', hex(expected.gsBase), hex(actual.gsBase));
  if (isMemoryCompared) differ('memory', memoryText(expected), memoryText(actual));
  return lines;
}

const memoryText = (o: Outcome): string =>
  o.memory.map(({ at, bytes }) => `[${hex(at)}]=${Buffer.from(bytes).toString('hex')}`).join(' ') || 'unchanged';

/** The case as a reader needs it to follow by hand. */
export function describeCase(c: Case | Sequence, lines: readonly string[]): string {
  const { start, bytes } = c;
  const { segments } = start;
  const size = start.mode === 64 ? 64 : segments.cs.attributes & 0x4000 ? 32 : 16;
  const count = start.mode === 64 ? 16 : 8;
  const registers = GPR_NAMES.slice(0, count).map((name, i) => `${name}=${hex(start.gpr[i])}`);
  const segmentText = SEGMENTS.map(
    (n) =>
      `${n}=${hex(segments[n].selector)}:${hex(segments[n].base)}+${hex(segments[n].limit)}/${hex(segments[n].attributes)}`,
  ).join(' ');
  const memory = start.memory.map(({ at, bytes: b }) => `[${hex(at)}]=${Buffer.from(b).toString('hex')}`).join(' ');
  const name = 'form' in c ? c.form.id : `${start.mode}-bit sequence`;
  return [
    `${name} #${c.index} (${size}-bit code)`,
    ...disassemble(bytes, size, start.rip).map((line) => `    ${line}`),
    ...lines.map((line) => `  ${line}`),
    `  rip=${hex(start.rip)} rflags=${hex(start.rflags)} ${registers.join(' ')}`,
    `  ${segmentText}`,
    `  memory ${memory}`,
  ].join('\n');
}

function disassemble(bytes: Uint8Array, size: number, rip: bigint): string[] {
  const decoder = new Decoder(size, bytes, 0);
  decoder.ip = BigInt.asUintN(64, rip);
  const formatter = new Formatter(FormatterSyntax.Intel);
  const lines: string[] = [];
  while (decoder.canDecode) {
    const from = decoder.position;
    const ip = decoder.ip;
    const instruction = decoder.decode();
    const code = Buffer.from(bytes.subarray(from, decoder.position)).toString('hex');
    lines.push(`${hex(ip)}  ${code}  ${formatter.format(instruction)}`);
    instruction.free();
  }
  formatter.free();
  decoder.free();
  return lines;
}
