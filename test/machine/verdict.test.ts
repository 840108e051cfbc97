/** The verdict table, case by case: lines of a console and the signal that follows them give an exit reason. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ExitReason } from '../../src/machine/exit-reason.ts';
import { type Signal, Verdict, type VerdictOptions, verdictTable } from '../../src/machine/verdict.ts';

const halt: Signal = { kind: 'halt', interruptsOff: true };
const sleep: Signal = { kind: 'halt', interruptsOff: false };
const reset: Signal = { kind: 'reset', how: 'i8042 command 0xfe' };
const triple: Signal = { kind: 'triple-fault' };
const timeout: Signal = { kind: 'timeout', seconds: 10 };
const limit: Signal = { kind: 'instruction-limit', instructions: 1e6 };
const loop: Signal = { kind: 'fault-loop' };
const killed: Signal = { kind: 'killed', why: 'wrote to a page table' };
const unbuilt: Signal = { kind: 'unbuilt', what: 'f2xm1', table: 'x86/isa/x87.ts' };
const exit = (value: number): Signal => ({ kind: 'debug-exit', value });

const judge = (lines: readonly string[], signal: Signal, options: Partial<VerdictOptions> = {}): ExitReason => {
  const verdict = new Verdict({ clock: () => 0, ...options });
  for (const line of lines) verdict.line(line);
  return verdict.ended ?? verdict.end(signal);
};

const PANIC = 'Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000000';
const PANIC_END = `---[ end ${PANIC} ]---`;

describe('lines and the signal after them', () => {
  const cases: [lines: string[], signal: Signal, kind: ExitReason['kind'], code: number][] = [
    // nothing said
    [[], halt, 'halted', 5],
    [[], sleep, 'halted', 5],
    [[], reset, 'reset', 4],
    [[], triple, 'triple-fault', 4],
    [[], exit(0), 'power-off', 0],
    [[], exit(0x10), 'power-off', 0],
    [[], exit(1), 'verdict-failure', 1],
    [[], exit(0x11), 'verdict-failure', 1],
    [[], exit(0xffff_ffff), 'verdict-failure', 1],
    [[], timeout, 'timeout', 5],
    [[], limit, 'instruction-limit', 5],
    [[], loop, 'fault-loop', 4],
    [[], killed, 'killed', 4],
    [[], unbuilt, 'unbuilt', 6],
    [['hello', 'world'], halt, 'halted', 5],
    // Linux shuts down (kernel/reboot.c)
    [['reboot: System halted'], halt, 'power-off', 0],
    [['[    1.234567] reboot: System halted'], halt, 'power-off', 0],
    [['reboot: Power down'], halt, 'power-off', 0],
    [['[   12.000001] reboot: Power down'], halt, 'power-off', 0],
    [['[   12.000001][    T1] reboot: Power down'], halt, 'power-off', 0],
    [['reboot: Power off not available: System halted instead'], halt, 'power-off', 0], // from Linux 6.11 on
    [['System halted.'], halt, 'power-off', 0],
    [['Power down.'], halt, 'power-off', 0],
    [['reboot: Restarting system'], reset, 'power-off', 0],
    [["[    0.5] reboot: Restarting system with command 'now'"], reset, 'power-off', 0],
    [['reboot: Restarting system'], triple, 'power-off', 0],
    // the announcement and the signal have to match, and the line has to begin with it
    [['reboot: System halted'], reset, 'reset', 4],
    [['reboot: System halted'], triple, 'triple-fault', 4],
    [['reboot: Power down'], timeout, 'timeout', 5],
    [['reboot: Restarting system'], halt, 'halted', 5],
    [['he said: reboot: System halted'], halt, 'halted', 5],
    [[' reboot: System halted'], halt, 'halted', 5],
    [['Power down the pump'], halt, 'halted', 5],
    [['System halted? no'], halt, 'halted', 5],
    [['reboot: Power down', 'reboot: Restarting system'], reset, 'power-off', 0],
    // panic: whatever comes then
    [[PANIC], halt, 'panic', 4],
    [[PANIC], reset, 'panic', 4],
    [[PANIC], triple, 'panic', 4],
    [[PANIC], timeout, 'panic', 4],
    [[PANIC], exit(0), 'panic', 4],
    [[PANIC], unbuilt, 'panic', 4],
    [[PANIC], { kind: 'deadline' }, 'panic', 4],
    [[PANIC, 'reboot: Restarting system'], reset, 'panic', 4],
    [[PANIC, 'verdict: success'], halt, 'panic', 4],
    [['verdict: success', PANIC], exit(0), 'panic', 4],
    [['verdict: failure 3', PANIC], halt, 'panic', 4],
    [[`[    0.300000] ${PANIC}`], halt, 'panic', 4],
    [[`[    0.300000][    T1] ${PANIC}`], halt, 'panic', 4],
    [[`login: [    0.300000] ${PANIC}`], halt, 'panic', 4],
    [[`\x1b[1;31m[    0.300000] ${PANIC}\x1b[m`], halt, 'panic', 4],
    [['Kernel panic: no init found'], halt, 'panic', 4],
    [['Kernel panics are rare'], halt, 'halted', 5],
    [['what is a Kernel panic?'], halt, 'halted', 5],
    [['login: [    0.3] reboot: System halted'], halt, 'halted', 5], // good news only at the start
    // our own guests
    [['verdict: success'], halt, 'power-off', 0],
    [['verdict: success'], sleep, 'power-off', 0],
    [['verdict: success'], exit(0), 'power-off', 0],
    [['verdict: success'], exit(5), 'verdict-failure', 1],
    [['verdict: success'], reset, 'reset', 4],
    [['verdict: success'], triple, 'triple-fault', 4],
    [['verdict: success'], timeout, 'timeout', 5],
    [['verdict: success', 'reboot: Restarting system'], reset, 'power-off', 0],
    [['verdict: failure 3'], exit(0), 'verdict-failure', 1],
    [['verdict: failure 3'], exit(3), 'verdict-failure', 1],
    [['verdict: failure 3'], halt, 'verdict-failure', 1],
    [['verdict: failure 3'], timeout, 'verdict-failure', 1],
    [['verdict: failure 3'], limit, 'verdict-failure', 1],
    [['verdict: failure 3'], reset, 'reset', 4],
    [['verdict: failure 3'], unbuilt, 'unbuilt', 6],
    [['verdict: failure 3', 'verdict: success'], halt, 'verdict-failure', 1],
    [['verdict: success', 'verdict: failure 1'], halt, 'verdict-failure', 1],
    [['verdict: failure 2', 'reboot: System halted'], halt, 'verdict-failure', 1],
    [['verdict: failure 2', 'reboot: Restarting system'], reset, 'verdict-failure', 1],
    [['verdict: failure'], halt, 'verdict-failure', 1],
    [['verdict: succes'], halt, 'verdict-failure', 1], // a verdict that nobody can read is no success
    [['verdict: success, more or less'], halt, 'verdict-failure', 1],
    [['verdict:'], halt, 'verdict-failure', 1],
    [['the verdict: success'], halt, 'halted', 5],
    [['verdict: success  '], halt, 'power-off', 0],
    // Xen Test Framework (xtf common/report.c)
    [['Test result: SUCCESS'], halt, 'power-off', 0],
    [['Test result: SUCCESS with warnings'], halt, 'power-off', 0],
    [['Test result: SKIP'], halt, 'verdict-failure', 1],
    [['Test result: ERROR'], halt, 'verdict-failure', 1],
    [['Test result: FAILURE'], exit(0), 'verdict-failure', 1],
    [['Test result: CRASH'], halt, 'verdict-failure', 1],
    [['Test result: SUCCESSFUL'], halt, 'verdict-failure', 1],
    // the user's own wishes come first
    [[PANIC], { kind: 'interrupted', signal: 'SIGINT' }, 'interrupted', 130],
    [[], { kind: 'interrupted', signal: 'SIGTERM' }, 'interrupted', 143],
    [[PANIC], { kind: 'expected', text: '"Kernel panic"' }, 'expected', 0],
    [['verdict: failure 1'], { kind: 'until', place: 'start_kernel' }, 'until', 0],
  ];
  it.each(cases)('%j, then %j: %s, code %i', (lines, signal, kind, code) => {
    const reason = judge(lines, signal);
    expect([reason.kind, reason.code]).toEqual([kind, code]);
    expect(reason.detail).not.toBe('');
  });
});

describe('whatever is said', () => {
  const words = ['reboot: System halted', 'reboot: Restarting system', 'verdict: success', 'verdict: failure 2', PANIC];
  const line = fc.oneof(fc.constantFrom(...words, 'Test result: SUCCESS', 'Test result: ERROR', ''), fc.string());
  const signals = [halt, sleep, reset, triple, timeout, limit, loop, killed, unbuilt, exit(0), exit(0x10), exit(7)];

  it('no end is better than the worst that was seen, and only a good end of a good guest is 0', () => {
    fc.assert(
      fc.property(fc.array(line, { maxLength: 6 }), fc.constantFrom(...signals), (lines, signal) => {
        const { code } = judge(lines, signal);
        const worst = lines.includes(PANIC) ? 4 : lines.some((l) => /^(verdict: f|Test result: E)/.test(l)) ? 1 : 0;
        if (worst === 4) expect(code).toBe(4);
        else if (worst === 1) expect([1, 4, 6]).toContain(code);
        if (code !== 0) return;
        expect(['halt', 'reset', 'triple-fault', 'debug-exit']).toContain(signal.kind);
        if (signal.kind !== 'debug-exit')
          expect(lines.some((l) => /^(reboot: |verdict: s|Test result: S)/.test(l))).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});

describe('options', () => {
  const cases: [options: Partial<VerdictOptions>, lines: string[], signal: Signal, kind: string, code: number][] = [
    [{ haltOk: true }, [], halt, 'halted', 0],
    [{ haltOk: true }, [], sleep, 'halted', 0],
    [{ haltOk: true }, ['verdict: failure 1'], halt, 'verdict-failure', 1],
    [{ haltOk: true }, [PANIC], halt, 'panic', 4],
    [{ haltOk: true }, [], triple, 'triple-fault', 4],
    [{ haltOk: true }, [], timeout, 'timeout', 5],
    [{ debugExitSuccess: 0x21 }, [], exit(0x21), 'power-off', 0],
    [{ debugExitSuccess: 0x21 }, [], exit(0), 'verdict-failure', 1],
    [{ debugExitSuccess: 0x21 }, [], exit(0x10), 'verdict-failure', 1],
    [{ debugExitSuccess: 0x21 }, ['verdict: failure 1'], exit(0x21), 'verdict-failure', 1],
    [{ debugExitSuccess: 0 }, [], exit(0x10), 'verdict-failure', 1],
  ];
  it.each(cases)('%j: %j, then %j: %s, code %i', (options, lines, signal, kind, code) => {
    const reason = judge(lines, signal, options);
    expect([reason.kind, reason.code]).toEqual([kind, code]);
  });
});

describe('a panic', () => {
  it('ends the run at its end line', () => {
    const verdict = new Verdict({ clock: () => 5 });
    verdict.line(`[    0.1] ${PANIC}`);
    expect(verdict.ended).toBeUndefined();
    verdict.line('[    0.1] CPU: 0 PID: 1 Comm: init');
    verdict.line(`[    0.1] ${PANIC_END}`);
    expect(verdict.ended).toEqual({
      kind: 'panic',
      code: 4,
      detail: 'kernel panic: Attempted to kill init! exitcode=0x00000000',
    });
  });

  it('whose first line was lost is told from its end line', () => {
    const verdict = new Verdict({ clock: () => 5 });
    verdict.line(PANIC_END);
    expect(verdict.ended?.detail).toBe('kernel panic: Attempted to kill init! exitcode=0x00000000');
  });

  it('gives the guest one second of virtual time from its first line', () => {
    let now = 0;
    const verdict = new Verdict({ clock: () => now });
    expect(verdict.deadline).toBeUndefined();
    now = 1_234;
    verdict.line(PANIC);
    now = 500_000_000;
    verdict.line('Kernel panic - not syncing: again');
    expect(verdict.deadline).toBe(1_000_001_234);
    expect(verdict.end({ kind: 'deadline' }).detail).toContain('Attempted to kill init!');
  });
});

describe('reasons', () => {
  it('carry the value that the guest gave', () => {
    expect(judge([], exit(0x22)).value).toBe(0x22);
    expect(judge([], exit(0x10)).value).toBe(0x10);
    expect(judge(['verdict: failure 3'], exit(3)).value).toBe(3);
    expect(judge(['verdict: failure 3', 'verdict: failure 4'], halt).value).toBe(3);
    expect(judge(['Test result: SKIP'], halt).value).toBe('SKIP');
    expect(judge([], unbuilt)).toMatchObject({ value: 'f2xm1', detail: expect.stringContaining('x86/isa/x87.ts') });
  });

  it('tell what to do where there is something to do', () => {
    expect(judge([], halt).hint).toContain('--halt-ok');
    expect(judge([], reset).hint).toContain('Restarting system');
    expect(judge([], exit(0), { debugExitSuccess: 0x21 }).hint).toContain('0x21');
  });
});

describe('the printed table', () => {
  it('names each line and signal with what follows and the code', () => {
    const row = (start: string) => verdictTable.find(({ when }) => when.startsWith(start));
    expect(row('Kernel panic')?.code).toBe('4');
    expect(row('reboot: System halted')?.code).toBe('0');
    expect(row('reboot: Restarting system')?.code).toBe('0');
    expect(row('verdict: failure N')?.code).toBe('1');
    expect(row('debug-exit 0 or 0x10')?.code).toBe('0');
    expect(verdictTable.every(({ when, follows, code }) => when && follows && /^[0-6]$/.test(code))).toBe(true);
  });
});
