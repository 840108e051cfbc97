/** A process and its times; nothing here asks how long something took. */
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { MarkWatch, timeProcess } from '../../src/cli/timed-process.ts';

const node = (script: string) => [process.execPath, '-e', script];
const never = new AbortController().signal;

describe('a timed process', { concurrent: true }, () => {
  it('gives the first byte, the marks in their order, and the end', async () => {
    const script = `console.log('a first line'); setTimeout(() => console.log('Run /init\\nlogin: '), 100); console.error('said')`;
    const marks = { login: 'login:', init: /^Run \/init$/, missing: 'nothing' };
    const times = await timeProcess(node(script), { marks, timeoutSeconds: 60, signal: never });
    expect(times).toMatchObject({ code: 0, signal: null, timedOut: false, errors: 'said\n' });
    const { firstByte, end, marks: seen } = times as Required<typeof times>;
    expect(Object.keys(seen).sort()).toEqual(['init', 'login']);
    expect([firstByte, seen.init, end]).toEqual([firstByte, seen.init, end].sort((a, b) => a - b));
    expect(firstByte).toBeGreaterThan(0);
  });

  it('ends the process behind the last mark, and then has no end to tell', async () => {
    const script = `setInterval(() => console.log('ready'), 10)`;
    const times = await timeProcess(node(script), { marks: { ready: 'ready' }, lastMark: 'ready', timeoutSeconds: 60, signal: never }); // biome-ignore format: one line
    expect(times).toMatchObject({ signal: 'SIGKILL', timedOut: false });
    expect(times.end).toBeUndefined();
    expect(times.marks.ready).toBeGreaterThan(0);
  });

  it('gives it up after the time, and ends it when that is asked for', async () => {
    const hang = node('setInterval(() => {}, 1000)');
    const late = await timeProcess(hang, { marks: {}, timeoutSeconds: 0.2, signal: never });
    expect(late).toMatchObject({ timedOut: true, signal: 'SIGKILL' });
    expect(late.end).toBeUndefined();
    const stop = new AbortController();
    setTimeout(() => stop.abort('SIGINT'), 100);
    expect(await timeProcess(hang, { marks: {}, timeoutSeconds: 60, signal: stop.signal })).toMatchObject({ signal: 'SIGKILL', timedOut: false }); // biome-ignore format: one line
    const before = await timeProcess(hang, { marks: {}, timeoutSeconds: 60, signal: AbortSignal.abort('SIGINT') });
    expect(before.signal).toBe('SIGKILL');
  });

  it('says that a program is not there', async () => {
    await expect(timeProcess(['/nowhere/at-all'], { marks: {}, timeoutSeconds: 60, signal: never })).rejects.toThrow('ENOENT'); // biome-ignore format: one line
  });

  it.skipIf(!existsSync('/proc/self/status'))('knows memory and processor time (Linux only)', async () => {
    const script = `const keep = new Uint8Array(1e8).fill(1); for (let end = Date.now() + 500; Date.now() < end; ) keep[0]++;`;
    const { peakMemory, cpuSeconds } = await timeProcess(node(script), { marks: {}, timeoutSeconds: 60, signal: never }); // biome-ignore format: one line
    expect(peakMemory).toBeGreaterThan(1e8);
    expect(cpuSeconds).toBeGreaterThan(0);
  });
});

describe('marks in output that arrives in pieces', () => {
  it.each([
    ['text over the edge of two pieces', 'login:', ['lo', 'gin', ': x'], [2]],
    ['text over the end of a line', 'one\ntwo', ['one', '\ntw', 'o'], [2]],
    ['a text only once', 'a', ['a', 'a'], [0]],
    ['an expression within a line', /^Run \S+ as/, ['[0] Run /init as\n', 'Run /in', 'it as'], [2]],
    ['an expression in the first of many lines', /b$/, ['ab\r\nc\nd'], [0]],
    ['nothing that spans lines with an expression', /a.b/s, ['a\nb'], []],
    ['an expression once the line is complete enough', /x/i, ['abc', 'X'], [1]],
  ] as const)('finds %s', (_, pattern, pieces, expected) => {
    const watch = new MarkWatch({ it: pattern });
    expect(pieces.flatMap((piece, i) => watch.push(piece).map(() => i))).toEqual(expected);
  });

  it('finds several in one piece', () => {
    expect(new MarkWatch({ a: 'a', b: /b/, c: 'c' }).push('ba')).toEqual(['a', 'b']);
  });
});
