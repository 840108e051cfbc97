/** A shell in a real guest, as a person has it: examples/debian's init and busybox, on a terminal of its own. */
import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { havePython, onTerminal, type Step } from '../cli/on-terminal.ts';
import { scratch, zeropage } from '../cli/run.ts';
import { describeReal, haveReal, realPath } from './files.ts';

const KERNEL = 'vmlinuz-cloud-amd64';

/** What examples/debian/fetch makes, from what .ci/fetch-kernels has fetched. */
function rootFolder(): string {
  const root = join(scratch(), 'root');
  for (const folder of ['bin', 'etc', 'proc', 'sys', 'tmp', 'root']) mkdirSync(join(root, folder), { recursive: true });
  copyFileSync(realPath('busybox'), join(root, 'bin/busybox'));
  copyFileSync(fileURLToPath(new URL('../../examples/debian/init', import.meta.url)), join(root, 'init'));
  for (const file of ['bin/busybox', 'init']) chmodSync(join(root, file), 0o755);
  symlinkSync('busybox', join(root, 'bin/sh'));
  return root;
}

const PROMPT = { expect: '/root # ' };
const typed = (line: string, answer: string): Step[] => [{ send: `${line}\r` }, { expect: `${answer}\r` }, PROMPT];

describeReal(KERNEL, () => {
  describe.runIf(havePython && haveReal('busybox'))('with a shell on its console', { timeout: 240_000 }, () => {
    it('edits lines, obeys Ctrl-C, keeps step with the clock, rests while idle, and can be given again', async () => {
      const folder = scratch();
      const recording = join(folder, 'session.json');
      const [args, report] = [['boot', realPath(KERNEL), '--initrd', rootFolder(), '--append', 'console=ttyS0 quiet', '--via', 'pvh'], join(folder, 'a.json')]; // biome-ignore format: one line
      const session = await onTerminal(
        [...args, '--interactive', '--record-input', recording, '--report', report],
        [
          PROMPT, { look: 'idle' }, { wait: 3 }, { look: 'still idle' },
          ...typed('echo hellp\x7fo', 'hello'), // backspace
          ...typed('echo one', 'one'),
          ...typed('\x1b[A\x1b[D\x1b[D\x1b[D-', '-one'), // up, left, left, left
          ...typed('tty', '/dev/ttyS0'),
          { look: 'before sleep' }, { send: 'sleep 2; echo wo\\ke\r' }, { expect: 'woke\r' }, { look: 'after sleep' }, PROMPT,
          { send: 'sleep 1000\r' }, { wait: 1 }, { send: '\x03' }, { expect: '^C' }, PROMPT,
          { send: 'cat > /tmp/a\r' }, { wait: 1 }, { send: 'ab\x03' }, { expect: '^C' }, PROMPT,
          ...typed('echo $?', '130'),
          { send: 'exit\r' }, { expect: 'System halted' },
        ],
        { PTY_PATIENCE: '120' },
      ); // biome-ignore format: steps
      expect(session, session.output).toMatchObject({ failed: null, code: 0, restored: true });
      const { looks } = session;
      const passed = (from: string, to: string, what: 'cpu' | 'time') => looks[to][what] - looks[from][what];
      expect(passed('idle', 'still idle', 'cpu')).toBeLessThan(passed('idle', 'still idle', 'time') / 2);
      expect(passed('before sleep', 'after sleep', 'time')).toBeGreaterThan(1.9);

      const again = join(folder, 'b.json');
      const replayed = await zeropage([...args, '--quiet', '--replay-input', recording, '--report', again]);
      expect(replayed.code, replayed.stderr).toBe(0);
      const outcome = (file: string) => ({ ...JSON.parse(readFileSync(file, 'utf8')), host: undefined });
      expect(outcome(again)).toEqual(outcome(report));
    });

    it('is ended from outside by Ctrl-A x', async () => {
      const session = await onTerminal(
        [
          'boot',
          realPath(KERNEL),
          '--via',
          'pvh',
          '--initrd',
          rootFolder(),
          '--append',
          'console=ttyS0',
          '--interactive',
        ],
        [{ expect: 'Linux version' }, { send: '\x01x' }],
      );
      expect(session.output).toMatch(/interrupted, exit 130: ended from the keyboard/);
      expect(session).toMatchObject({ failed: null, code: 130, restored: true });
    });
  });
});

if (!haveReal('busybox')) console.log('skipped: there is no busybox; .ci/fetch-kernels brings it');
