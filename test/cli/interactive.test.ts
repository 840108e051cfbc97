import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { havePython, onTerminal, type Step } from './on-terminal.ts';
import { scratch } from './run.ts';

/** 32-bit code that turns what it can into letters: prints a prompt, sends back what comes in, ends at a q. It waits in
 * HLT, without any interrupt that could wake it: what it does is up to the keyboard alone. */
function guest(wait: number[]): string {
  const file = join(scratch(), 'echo.bin');
  const prompt = [...'name? '].flatMap((character) => [0xb0, character.charCodeAt(0), 0xee]);
  // loop: in al,0x3fd; test al,1; jz loop; in al,0x3f8; out; cmp al,'q'; jne loop; hlt
  const echo = [0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, ...wait, 0x66, 0xba, 0xf8, 0x03, 0xec, 0xee, 0x3c, 0x71, 0x75, 0xed, 0xf4]; // biome-ignore format: code
  writeFileSync(file, Uint8Array.from([0x66, 0xba, 0xf8, 0x03, ...prompt, ...echo]));
  return file;
}

const POLLING = [0x74, 0xf7]; // jz loop
const args = ['boot', guest(POLLING), '--via', 'flat32', '--memory', '2M', '--interactive'];
const until = (...last: Step[]): Step[] => [{ expect: 'name? ' }, { look: 'running' }, ...last];

describe.runIf(havePython)('an interactive run on a terminal', { concurrent: true, timeout: 90_000 }, () => {
  const ways: [string, Step[], number | null, string | null, RegExp][] = [
    ['the end of the guest', [{ send: 'q' }], 0, null, /q\r?\n?[\s\S]*exit 0/],
    ['Ctrl-A x', [{ send: 'ab\x03' }, { expect: 'ab\x03' }, { send: '\x01x' }], 130, null, /ended from the keyboard/],
    ['Ctrl-]', [{ send: '\x1d' }], 130, null, /ended from the keyboard/],
    ['SIGTERM', [{ signal: 'SIGTERM' }], 143, null, /stopped by SIGTERM/],
    ['SIGINT from elsewhere', [{ signal: 'SIGINT' }], 130, null, /stopped by SIGINT/],
    ['SIGHUP', [{ signal: 'SIGHUP' }], 129, null, /stopped by SIGHUP/],
    ['SIGQUIT', [{ signal: 'SIGQUIT' }], null, 'SIGQUIT', /name\? /],
    ['an exception', [{ signal: 'SIGUSR2' }], 70, null, /planted/],
  ]; // biome-ignore format: a table
  it.each(ways)('gives the terminal back after %s', async (_, steps, code, signal, says) => {
    const plant = join(scratch(), 'plant.mjs');
    writeFileSync(plant, "process.on('SIGUSR2', () => { throw new Error('planted'); });");
    const session = await onTerminal(args, until(...steps), { NODE_OPTIONS: `--import=${plant}` });
    expect(session.output).toMatch(says);
    expect(session).toMatchObject({ failed: null, code, signal, restored: true });
    expect(session.looks.running.raw).toBe(true);
  });

  it('names its keys at the start and at Ctrl-A h, and passes Ctrl-A on when it comes twice', async () => {
    const session = await onTerminal(
      args,
      until({ send: '\x01h' }, { expect: 'Ctrl-Z among them' }, { send: '\x01\x01q' }, { expect: '\x01q' }),
    );
    expect(session.output).toMatch(/^zeropage: Ctrl-A x ends the run, Ctrl-A h lists the keys\r\n/);
    expect(session).toMatchObject({ failed: null, code: 0, restored: true });
  });

  it('lends the terminal back while it is suspended from outside', async () => {
    const session = await onTerminal(
      args,
      until(
        { signal: 'SIGTSTP' }, { wait: 0.5 }, { look: 'suspended' },
        { signal: 'SIGCONT' }, { wait: 0.5 }, { look: 'again' },
        { send: 'xyq' }, { expect: 'xyq' },
      ),
    ); // biome-ignore format: steps
    expect(session.looks).toMatchObject({ suspended: { raw: false }, again: { raw: true } });
    expect(session).toMatchObject({ failed: null, code: 0, restored: true });
  });
});
