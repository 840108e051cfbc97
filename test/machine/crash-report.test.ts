import { describe, expect, it } from 'vitest';
import { longModeState, protectedModeState } from '../../src/boot/first-state.ts';
import { type CrashScene, crashReport, formatCrash } from '../../src/machine/crash-report.ts';
import type { ExitReason } from '../../src/machine/exit-reason.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { identityMap4GiB } from '../../src/memory/page-table-builder.ts';

const EXIT: ExitReason = { kind: 'triple-fault', code: 4, detail: 'the CPU shut down' };
// 0x8000: xor ecx,ecx; mov eax,[0xdead0000]; mov [eax],ecx; hlt
const CODE = Uint8Array.of(0x31, 0xc9, 0xa1, 0x00, 0x00, 0xad, 0xde, 0x89, 0x08, 0xf4);

function scene(overrides: Partial<CrashScene> = {}): CrashScene {
  const memory = new GuestMemory(new ArrayBuffer(0x10_0000), 0, 0x10_0000);
  memory.write(0x8000, CODE);
  return {
    state: protectedModeState({ rip: 0x8007n, rax: 0x1234n, cr0: 1 }),
    memory,
    instructions: 42,
    firstFault: { vector: 14, errorCode: 2, rip: 0x8007n, cr2: 0x1234n, instructions: 41 },
    lastFaults: [{ vector: 8, errorCode: 0, rip: 0x8007n, cr2: undefined, instructions: 41 }],
    faultCount: 3,
    recentBlocks: [0x7000n, 0x8000n],
    consoleLines: ['booting', 'oops'],
    ...overrides,
  };
}
const names = (address: bigint) => (address >= 0x8000n ? `broken+0x${(address - 0x8000n).toString(16)}` : undefined);
const told = async (overrides: Partial<CrashScene> = {}) => {
  const what = scene(overrides);
  return formatCrash(EXIT, what, await crashReport(what, names));
};

describe('a crash report', () => {
  it('shows the first fault, with its place by name and its error code in words', async () => {
    const text = await told();
    expect(text).toMatch(/^guest triple-fault after 42 instructions: the CPU shut down\n/);
    expect(text).toMatch(/first fault: #PF page fault, error code 0x2 \(write, in kernel mode, page not present\)/);
    expect(text).toMatch(/at 0x8007 broken\+0x7, after 41 instructions\n {2}touching 0x1234/);
    expect(text).toMatch(/2 more faults followed/);
    expect(text).toMatch(
      /last faults, newest last:\n {4}#DF double fault at 0x8007 broken\+0x7, after 41 instructions/,
    );
  });

  it('shows the code before and behind it, from a block that is known to have run', async () => {
    const { firstFault } = await crashReport(scene(), names);
    expect(firstFault?.code.map(({ at, text, current }) => `${current ? '>' : ' '}${at} ${text}`).slice(0, 4)).toEqual([
      ' 0x8000 xor ecx,ecx',
      ' 0x8002 mov eax,[0xdead0000]',
      '>0x8007 mov [eax],ecx',
      ' 0x8009 hlt',
    ]);
    expect(firstFault?.code[1].bytes).toBe('a10000adde');
  });

  it('walks the page tables for the address, in the guest at hand', async () => {
    const what = scene({ state: longModeState({ rip: 0x8007n, cr0: 0x8000_0001, cr4: 0x20, efer: 0x500 }) });
    what.memory.write(0x1000, identityMap4GiB(0x1000));
    what.firstFault = { vector: 14, errorCode: 0x10, rip: 0x8007n, cr2: 0x80_0000_0000n, instructions: 1 };
    const { firstFault } = await crashReport(what, names);
    expect(firstFault?.errorCodeSays).toBe('instruction fetch, in kernel mode, page not present');
    expect(firstFault?.walk).toEqual(['PML4 [0x1] at 0x1008: 0x0000000000000000 not present']);
  });

  it('ends with registers, blocks and the last console lines', async () => {
    const text = await told();
    expect(text).toMatch(/rax 0000000000001234/);
    expect(text).toMatch(/last blocks, newest last:\n {4}0x7000\n {4}0x8000 broken\+0x0\n/);
    expect(text).toMatch(/last console lines:\n {4}\| booting\n {4}\| oops\n$/);
  });

  it('says only where it ended when there was no fault, and survives code that is not there', async () => {
    const state = protectedModeState({ rip: 0xfff0_0000n, cr0: 1 });
    const text = await told({ firstFault: undefined, lastFaults: [], faultCount: 0, recentBlocks: [], state });
    expect(text).not.toMatch(/first fault|code there/);
    expect(text).toMatch(/ended at 0xfff00000/);
  });

  it.each([
    [13, 0x10, 'GDT selector 0x10'],
    [13, 0x0c, 'LDT selector 0x8'],
    [13, 0x6b, 'IDT entry 0xd, external event'],
    [8, 0, 'no selector'],
    [14, 7, 'write, in user mode, protection violation'],
  ])('explains, for vector %i, error code %i as %s', async (vector, errorCode, words) => {
    const what = scene({ firstFault: { vector, errorCode, rip: 0x8007n, cr2: undefined, instructions: 1 } });
    expect((await crashReport(what, names)).firstFault?.errorCodeSays).toBe(words);
  });
});
