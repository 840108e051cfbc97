/** The crash report: where it began, not only where it ended.
 *
 * A triple fault ends three faults after the mistake, and a panic thousands of instructions later. So the first fault
 * of the run is kept by the CPU and shown first: its place as symbol and offset, the code around it, the page walk of
 * the address it tripped over. Then the end: registers, the last blocks, the last console lines. A kernel may fault and
 * recover on purpose (early page faults in Linux do), so the report says how many faults there were, and begins with the
 * end where no fault can have caused it: out of time or instructions, something unbuilt, a signal.
 * The disassembler (iced-x86) is loaded when a report is made; runs that end well never pay for it.
 * May not: change the machine.   Next: machine/report.ts. */
import { hex } from '../base/numbers.ts';
import type { WalkTrace } from '../engine/walk-trace.ts';
import { FRAME_SIZE } from '../memory/address.ts';
import type { GuestRam } from '../memory/guest-ram.ts';
import { EFER, VECTOR, VECTOR_NAMES } from '../x86/constants.ts';
import { GPR_NAMES, SEGMENT_NAMES, type VcpuState } from '../x86/vcpu-state.ts';
import type { ExitKind, ExitReason, FaultRecord } from './exit-reason.ts';
import { type ProfileRow, type ProfileSample, topFunctions } from './profile.ts';

/** What the report is made from; a Machine is one. */
export type CrashScene = {
  state: VcpuState;
  memory: GuestRam;
  instructions: number;
  firstFault: FaultRecord | undefined;
  /** The last few, newest last. */
  lastFaults: readonly FaultRecord[];
  faultCount: number;
  /** Where control went last, newest last: more than are shown, since loops are told in one line. */
  recentBlocks: readonly bigint[];
  /** How many lines of them to show. */
  lastBlocks: number;
  /** The page walk of a linear address, as the tables are now. */
  walk(address: bigint): WalkTrace;
  consoleLines: readonly string[];
  /** Where every so manieth of the last instructions was. */
  samples: readonly ProfileSample[];
  /** Instructions that they stand for. */
  sampled: number;
  /** Virtual time since the first instruction, and how much of it passed in HLT, in ns. */
  virtualTimeNs: number;
  idleNs: number;
};

/** `x86_64_start_kernel+0x12`, or undefined for an address without a name. */
export type Symbolise = (address: bigint) => string | undefined;

export type CodeLine = { at: string; bytes: string; text: string; current: boolean };
export type Place = { rip: string; symbol?: string; code: CodeLine[] };
export type CrashReport = {
  faults: number;
  firstFault?: Place & {
    vector: number;
    name: string;
    errorCode?: string;
    errorCodeSays?: string;
    address?: string;
    instructions: number;
    walk: string[];
  };
  /** Those that came after the first and are the last ones of the run, newest last. */
  lastFaults: { name: string; rip: string; symbol?: string; address?: string; instructions: number }[];
  end: Place;
  /** Newest last; neighbours with the same `times` are a loop that went round so often. */
  lastBlocks: BlockLine[];
  /** Functions with their part of the last instructions, largest first; empty for a short run. */
  profile: { instructions: number; samples: number; functions: ProfileRow[] };
  /** How much of virtual time the CPU waited in HLT. */
  idleShare: number;
  lastLines: string[];
};

export type BlockLine = { rip: string; symbol?: string; times?: number };

/** A guest that ended otherwise survived its faults: there the end says more, and comes first. */
const ENDED_BY_FAULTS: ReadonlySet<ExitKind> = new Set(['panic', 'triple-fault', 'reset', 'fault-loop', 'killed', 'verdict-failure', 'halted']); // biome-ignore format: one line
/** Nothing went wrong there; time went by. */
const HANGS: ReadonlySet<ExitKind> = new Set(['timeout', 'instruction-limit', 'halted']);
const LAST_LINES = 12;
const LINES_OF_PANIC = 60;
const LINES_BEFORE = 4;
const LINES_AFTER = 4;
const LONGEST_INSTRUCTION = 15;

export async function crashReport(scene: CrashScene, symbolise: Symbolise): Promise<CrashReport> {
  const { state, firstFault, recentBlocks } = scene;
  const disassemble = await loadDisassembler();
  const place = (rip: bigint): Place => {
    const code = disassemble ? codeAround(disassemble, scene, rip) : [];
    return { rip: hex(rip), ...named(symbolise(rip)), code };
  };
  return {
    faults: scene.faultCount,
    ...(firstFault && {
      firstFault: {
        ...place(firstFault.rip),
        vector: firstFault.vector,
        name: faultName(firstFault.vector),
        ...(firstFault.errorCode !== undefined && {
          errorCode: hex(firstFault.errorCode),
          errorCodeSays: errorCodeSays(firstFault.vector, firstFault.errorCode),
        }),
        ...(firstFault.cr2 !== undefined && { address: hex(firstFault.cr2) }),
        instructions: firstFault.instructions,
        walk: firstFault.cr2 === undefined ? [] : walkLines(scene, firstFault.cr2),
      },
    }),
    lastFaults: scene.lastFaults
      .filter((fault) => fault !== firstFault)
      .map(({ vector, rip, cr2, instructions }) => ({
        name: faultName(vector),
        rip: hex(rip),
        ...named(symbolise(rip)),
        ...(cr2 !== undefined && { address: hex(cr2) }),
        instructions,
      })),
    end: place(state.rip),
    lastBlocks: foldLoops(recentBlocks, scene.lastBlocks).map(({ rip, times }) => ({
      rip: hex(rip),
      ...named(symbolise(rip)),
      ...(times > 1 && { times }),
    })),
    profile: {
      instructions: scene.sampled,
      samples: scene.samples.length,
      functions: topFunctions(scene.samples, symbolise),
    },
    idleShare: scene.virtualTimeNs > 0 ? Math.round((scene.idleNs / scene.virtualTimeNs) * 1000) / 1000 : 0,
    lastLines: lastLines(scene.consoleLines),
  };
}

/** A panic's words stand above its stack; they are what the lines are read for. */
function lastLines(lines: readonly string[]): string[] {
  const near = lines.slice(-LINES_OF_PANIC);
  const panic = near.findIndex((line) => line.includes('Kernel panic') || line.includes('BUG: ') || line.includes('Oops: ')); // biome-ignore format: one line
  return panic < 0 ? lines.slice(-LAST_LINES) : near.slice(Math.min(panic, near.length - LAST_LINES));
}

const faultName = (vector: number) => VECTOR_NAMES[vector] ?? `vector ${vector}`;
const named = (symbol: string | undefined) => (symbol === undefined ? {} : { symbol });

/** The report for people. */
export function formatCrash(exit: ExitReason, scene: CrashScene, crash: CrashReport): string {
  const { firstFault: first, end } = crash;
  const lines = [`guest ${exit.kind} after ${scene.instructions.toLocaleString('en')} instructions: ${exit.detail}`];
  const at = ({ rip, symbol }: { rip: string; symbol?: string }) => (symbol ? `${rip} ${symbol}` : rip);
  const code = (place: Place) => place.code.map((line) => `  ${line.current ? '>' : ' '} ${line.at}  ${line.text}`);
  const section = (title: string, body: string[]) => {
    if (body.length > 0) lines.push(`${title}:`, ...body);
  };
  const showFaults = () => {
    if (!first) return;
    const error = first.errorCode === undefined ? '' : `, error code ${first.errorCode} (${first.errorCodeSays})`;
    const others = crash.faults - 1;
    lines.push(`first fault: ${first.name}${error}`);
    lines.push(`  at ${at(first)}, after ${first.instructions.toLocaleString('en')} instructions`);
    if (first.address) lines.push(`  touching ${first.address}`);
    if (others > 0)
      lines.push(
        `  ${others} more fault${others > 1 ? 's' : ''} followed; a kernel may handle some of them on purpose`,
      );
    section('code at the first fault', code(first));
    section(
      `page walk of ${first.address}, in the tables as they are now`,
      first.walk.map((row) => `    ${row}`),
    );
    section(
      'last faults, newest last',
      crash.lastFaults.map(({ name, address, instructions, ...where }) => {
        const touching = address === undefined ? '' : ` touching ${address}`;
        return `    ${name} at ${at(where)}${touching}, after ${instructions.toLocaleString('en')} instructions`;
      }),
    );
  };
  const showEnd = () => {
    lines.push(`ended at ${at(end)}`);
    section('code there', code(end));
  };
  const { profile, idleShare } = crash;
  if (HANGS.has(exit.kind)) {
    const percent = (part: number) => `${(part * 100).toFixed(1).padStart(5)} %`;
    section(
      `where its last ${profile.instructions.toLocaleString('en')} instructions went`,
      profile.functions.map(({ where, samples }) => `    ${percent(samples / profile.samples)} ${where}`),
    );
    if (idleShare > 0) lines.push(`it waited in hlt for ${percent(idleShare).trim()} of virtual time`);
  }
  if (ENDED_BY_FAULTS.has(exit.kind)) {
    showFaults();
    if (first?.rip !== end.rip) showEnd();
  } else {
    showEnd();
    showFaults();
  }
  section('registers at the end', registerLines(scene.state));
  section(
    'last blocks, newest last',
    crash.lastBlocks.map((block) => `    ${at(block)}${block.times ? ` (${block.times} times)` : ''}`),
  );
  section(
    'last console lines',
    crash.lastLines.map((line) => `    | ${line}`),
  );
  return `${lines.join('\n')}\n`;
}

/** Four to a line, as kernels print them. */
export function registerLines(state: VcpuState): string[] {
  const wide = (name: string, value: bigint) => `${name.padStart(6)} ${value.toString(16).padStart(16, '0')}`;
  const general = GPR_NAMES.map((name) => wide(name, state[name]));
  general.push(wide('rip', state.rip), wide('rflags', state.rflags), wide('efer', state.efer), '');
  general.push(...(['cr0', 'cr2', 'cr3', 'cr4'] as const).map((name) => wide(name, state[name])));
  const lines: string[] = [];
  for (let i = 0; i < general.length; i += 4)
    lines.push(
      general
        .slice(i, i + 4)
        .join(' ')
        .trimEnd(),
    );
  const segment = (name: string, { selector, base, limit }: { selector: number; base: bigint; limit: number }) =>
    `${name} ${hex(selector, 4)} base ${hex(base)} limit ${hex(limit)}`;
  const all = [...SEGMENT_NAMES.map((name) => segment(name, state.segments[name])), segment('tr', state.tr), segment('ldtr', state.ldtr)]; // biome-ignore format: one line
  for (let i = 0; i < all.length; i += 2) lines.push(`    ${all[i].padEnd(50)} ${all[i + 1]}`.trimEnd());
  lines.push(`    cpl ${state.cpl}, gdt ${hex(state.gdtr.base)} limit ${hex(state.gdtr.limit)}, idt ${hex(state.idtr.base)} limit ${hex(state.idtr.limit)}`); // biome-ignore format: one line
  return lines;
}

function walkLines(scene: CrashScene, address: bigint): string[] {
  const { paging, rows, end } = scene.walk(address);
  const lines = rows.map(({ level, at, value, flags }) => {
    const where = at === undefined ? 'loaded with CR3' : `at ${hex(at)}`;
    return `${level.padEnd(5)} ${where}: ${hex(value, 16)} ${flags}`;
  });
  return [paging, ...lines, end];
}

function errorCodeSays(vector: number, code: number): string {
  if (vector !== VECTOR.PF) return code === 0 ? 'no selector' : selectorSays(code);
  const words = [
    code & 16 ? 'instruction fetch' : code & 2 ? 'write' : 'read',
    code & 4 ? 'in user mode' : 'in kernel mode',
    code & 8 ? 'reserved bit set' : code & 1 ? 'protection violation' : 'page not present',
  ];
  return words.join(', ');
}

function selectorSays(code: number): string {
  const table = code & 2 ? 'IDT entry' : code & 4 ? 'LDT selector' : 'GDT selector';
  return `${table} ${code & 2 ? hex(code >> 3) : hex(code & 0xfff8)}${code & 1 ? ', external event' : ''}`;
}

type Disassemble = (bytes: Uint8Array, ip: bigint, bits: number) => { at: bigint; length: number; text: string }[];

/** Undefined where the package cannot be loaded; the report then has no code lines. */
async function loadDisassembler(): Promise<Disassemble | undefined> {
  const iced = await import('iced-x86').catch(() => undefined);
  if (!iced) return undefined;
  const { Decoder, DecoderOptions, Formatter, FormatterSyntax } = iced;
  return (bytes, ip, bits) => {
    const decoder = new Decoder(bits, bytes, DecoderOptions.None);
    const formatter = new Formatter(FormatterSyntax.Nasm);
    formatter.hexPrefix = '0x';
    formatter.hexSuffix = '';
    formatter.uppercaseHex = false;
    formatter.smallHexNumbersInDecimal = false; // iced-x86 1.21 prints 0x8000000000 as 0 otherwise
    decoder.ip = ip;
    const lines = [];
    while (decoder.canDecode) {
      const instruction = decoder.decode();
      lines.push({ at: instruction.ip, length: instruction.length, text: formatter.format(instruction) });
      instruction.free();
    }
    formatter.free();
    decoder.free();
    return lines;
  };
}

/** x86 code cannot be read backwards, so the lines before `rip` start at a block that is known to have run. */
function codeAround(disassemble: Disassemble, scene: CrashScene, rip: bigint): CodeLine[] {
  const { state, recentBlocks } = scene;
  const { cs } = state.segments;
  const long = (state.efer & BigInt(EFER.LMA)) !== 0n && (cs.attributes & 0x2000) !== 0;
  const bits = long ? 64 : cs.attributes & 0x4000 ? 32 : 16;
  const start = recentBlocks.findLast((block) => block <= rip && rip - block < 128n) ?? rip;
  const length = Number(rip - start) + (LINES_AFTER + 1) * LONGEST_INSTRUCTION;
  const bytes = readLinear(scene, (long ? 0n : cs.base) + start, length);
  const lines = disassemble(bytes, start, bits);
  const current = lines.findIndex((line) => line.at === rip);
  if (current < 0) return [];
  return lines
    .slice(Math.max(0, current - LINES_BEFORE), current + LINES_AFTER + 1)
    .map(({ at, length: size, text }) => {
      const from = Number(at - start);
      const raw = Array.from(bytes.subarray(from, from + size), (byte) => byte.toString(16).padStart(2, '0')).join('');
      return { at: hex(at), bytes: raw, text, current: at === rip };
    });
}

/** Up to `length` bytes at a linear address; fewer when a page on the way is not there. */
function readLinear({ walk, memory }: CrashScene, address: bigint, length: number): Uint8Array {
  const out = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const at = address + BigInt(done);
    const { gpa } = walk(at);
    const count = Math.min(FRAME_SIZE - Number(at % BigInt(FRAME_SIZE)), length - done);
    if (gpa === undefined || !memory.contains(gpa, count)) break;
    out.set(memory.bytes(gpa, count), done);
    done += count;
  }
  return out.subarray(0, done);
}

const LONGEST_LOOP = 4;

/** The newest `lines` of a trail, where rounds of a loop of up to four blocks are told once, with their number. */
export function foldLoops(trail: readonly bigint[], lines: number): { rip: bigint; times: number }[] {
  const folded: { rip: bigint; times: number }[] = [];
  let end = trail.length;
  while (end > 0 && folded.length < lines) {
    let best = { period: 1, times: 1 };
    for (let period = 1; period <= LONGEST_LOOP; period++) {
      let start = end - period;
      while (start - 1 >= 0 && trail[start - 1] === trail[start - 1 + period]) start--;
      const times = Math.floor((end - start) / period);
      if (times > 1 && times * period > best.times * best.period) best = { period, times };
    }
    for (let i = 1; i <= best.period; i++) folded.push({ rip: trail[end - i], times: best.times });
    end -= best.period * best.times;
  }
  return folded.slice(0, lines).reverse();
}
