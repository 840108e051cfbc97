import { describe, expect, it } from 'vitest';
import { planBoot } from '../../src/boot/index.ts';
import { flatImage } from '../../src/image/parse.ts';
import { type CrashScene, crashReport, foldLoops, formatCrash } from '../../src/machine/crash-report.ts';
import { Machine } from '../../src/machine/machine.ts';

/** Runs 64-bit code at 0x100000 to its bad end. The low 4 GiB are mapped; there is no IDT, so a fault is the end. */
async function crash(code: number[], change: Partial<CrashScene> = {}) {
  const plan = planBoot(flatImage('code', Uint8Array.from(code)), { via: 'flat64', memory: '2M' });
  const machine = await Machine.create(plan);
  const exit = machine.runSync({ maxInstructions: 1000 });
  const scene = { ...machine.scene(16), ...change };
  const report = await crashReport(scene, (address) => `broken+0x${(address - 0x10_0000n).toString(16)}`);
  return { exit, scene, report, text: formatCrash(exit, scene, report) };
}

// mov al,'x'; out 0xe9,al; xor ecx,ecx; mov rax,0x8000000000; mov [rax],ecx; hlt
const WILD_WRITE = [0xb0, 0x78, 0xe6, 0xe9, 0x31, 0xc9, 0x48, 0xb8, 0, 0, 0, 0, 0x80, 0, 0, 0, 0x89, 0x08, 0xf4];

describe('a crash report', () => {
  it('shows the first fault, with its place by name and its error code in words', async () => {
    const { exit, text } = await crash(WILD_WRITE);
    expect(exit.kind).toBe('triple-fault');
    expect(text).toMatch(/^guest triple-fault after 4 instructions: /);
    expect(text).toMatch(/first fault: #PF page fault, error code 0x2 \(write, in kernel mode, page not present\)/);
    expect(text).toMatch(/at 0x100010 broken\+0x10, after 4 instructions\n {2}touching 0x8000000000/);
  });

  it('shows the code around it, and marks the line', async () => {
    const { report } = await crash(WILD_WRITE, { recentBlocks: [0x7000n, 0x10_0000n] });
    expect(
      report.firstFault?.code.map(({ at, text, current }) => `${current ? '>' : ' '}${at} ${text}`).slice(0, 6),
    ).toEqual([
      ' 0x100000 mov al,0x78',
      ' 0x100002 out 0xe9,al',
      ' 0x100004 xor ecx,ecx',
      ' 0x100006 mov rax,0x8000000000',
      '>0x100010 mov [rax],ecx',
      ' 0x100012 hlt',
    ]);
    expect(report.firstFault?.code[2].bytes).toBe('31c9');
  });

  it('walks the page tables for the address', async () => {
    const { report } = await crash(WILD_WRITE);
    expect(report.firstFault?.walk).toEqual([
      '4-level paging, CR3 0x1000',
      'PML4E at 0x1008: 0x0000000000000000 not present',
      'PML4E is not present',
    ]);
  });

  it('ends with registers, the last places and the last console lines', async () => {
    const { text } = await crash(WILD_WRITE);
    expect(text).toMatch(/rax 0000008000000000 {4}rcx 0000000000000000/);
    expect(text).toMatch(/cr3 0000000000001000/);
    expect(text).toMatch(/last console lines:\n {4}\| x\n$/);
  });

  it('shows the console from the panic on, however long its trace', async () => {
    const lines = [...Array.from({ length: 50 }, (_, i) => `early ${i}`), 'Kernel panic - not syncing: so', ...Array.from({ length: 30 }, (_, i) => `trace ${i}`)]; // biome-ignore format: one line
    const { report } = await crash(WILD_WRITE, { consoleLines: lines });
    expect(report.lastLines).toHaveLength(31);
    expect(report.lastLines[0]).toBe('Kernel panic - not syncing: so');
    const short = await crash(WILD_WRITE, { consoleLines: lines.slice(0, 53) });
    expect(short.report.lastLines).toHaveLength(12);
    expect(short.report.lastLines.at(-1)).toBe('trace 1');
  });

  it('says where a run ended that had no fault', async () => {
    const { exit, text } = await crash([0x90, 0xeb, 0xfd]); // nop; jmp back
    expect(exit.kind).toBe('instruction-limit');
    expect(text).not.toMatch(/first fault/);
    expect(text).toMatch(/ended at 0x100000 broken\+0x0\ncode there:\n {2}> 0x100000 {2}nop/);
  });

  it.each([
    ['triple-fault', 4, true],
    ['panic', 4, true],
    ['halted', 5, true],
    ['unbuilt', 6, false],
    ['instruction-limit', 5, false],
    ['timeout', 5, false],
  ] as const)('of a run that ended as %s (%i) begins with the first fault: %s', async (kind, code, faultFirst) => {
    const firstFault = { vector: 14, errorCode: 2, rip: 0x10_0000n, cr2: 0x1234n, instructions: 1 };
    const scene = (await crash([0x90, 0x0f, 0x0b])).scene;
    const report = await crashReport({ ...scene, firstFault }, () => undefined);
    const text = formatCrash({ kind, code, detail: 'so' }, { ...scene, firstFault }, report);
    const [fault, end, registers] = ['first fault: #PF', 'ended at 0x100001', 'registers at the end'].map((part) => text.indexOf(part)); // biome-ignore format: one line
    expect(Math.min(fault, end)).toBeGreaterThan(0);
    expect(fault < end).toBe(faultFirst);
    expect(registers).toBeGreaterThan(Math.max(fault, end));
  });

  it('survives code that is not there', async () => {
    const { exit, report, text } = await crash([0xe9, 0, 0, 0, 0x70]); // jmp far out of RAM
    expect(exit.code).toBe(4);
    expect(report.end.code.every(({ text }) => typeof text === 'string')).toBe(true);
    expect(text).toMatch(/registers at the end/);
  });

  it.each([
    [13, 0x10, 'GDT selector 0x10'],
    [13, 0x0c, 'LDT selector 0x8'],
    [13, 0x6b, 'IDT entry 0xd, external event'],
    [8, 0, 'no selector'],
    [14, 7, 'write, in user mode, protection violation'],
    [14, 0x10, 'instruction fetch, in kernel mode, page not present'],
  ])('explains, for vector %i, error code %i as %s', async (vector, errorCode, words) => {
    const firstFault = { vector, errorCode, rip: 0x10_0000n, cr2: undefined, instructions: 1 };
    const { report } = await crash(WILD_WRITE, { firstFault });
    expect(report.firstFault?.errorCodeSays).toBe(words);
  });
});

describe('the trail of last places', () => {
  const fold = (trail: string, lines: number) =>
    foldLoops(
      [...trail].map((letter) => BigInt(letter.charCodeAt(0))),
      lines,
    )
      .map(({ rip, times }) => String.fromCharCode(Number(rip)) + (times > 1 ? times : ''))
      .join(' ');
  it.each([
    ['abc', 5, 'a b c'],
    ['abcdef', 3, 'd e f'],
    ['abbbbbc', 5, 'a b5 c'],
    ['xababababy', 5, 'x a4 b4 y'],
    ['abcdabcd', 9, 'a2 b2 c2 d2'],
    ['aaaa', 9, 'a4'],
    ['', 4, ''],
    ['abc', 0, ''],
  ])('tells %j in %i lines as %j', (trail, lines, told) => expect(fold(trail, lines)).toBe(told));
});
