/** Our command line on a terminal of its own, with somebody typing. Needs python3, which Debian and most systems have. */
import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const SCRIPT = fileURLToPath(new URL('terminal.py', import.meta.url));
const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

export type Step =
  | { expect: string }
  | { send: string }
  | { signal: NodeJS.Signals }
  | { look: string }
  | { wait: number };

export type Session = {
  output: string;
  code: number | null;
  signal: string | null;
  /** By the name given: whether the terminal was raw, processor seconds used so far, and when. */
  looks: Record<string, { raw: boolean; cpu: number; time: number }>;
  /** The terminal is as it was. */
  restored: boolean;
  /** What was expected and did not come. */
  failed: string | null;
};

export const havePython = spawnSync('python3', ['-c', 'import pty, termios']).status === 0;
if (!havePython) console.log('skipped: terminals are tested with python3, which is not here');

export function onTerminal(
  args: readonly string[],
  steps: readonly Step[],
  environment: Record<string, string> = {},
): Promise<Session> {
  const command = [process.execPath, '--import', 'tsx', MAIN, ...args];
  return new Promise((resolve, reject) => {
    const child = spawn('python3', [SCRIPT, ...command], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, NO_COLOR: '1', ...environment },
    });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (part) => {
      text += part;
    });
    child.on('error', reject);
    child.on('close', () => {
      try {
        resolve(JSON.parse(text) as Session);
      } catch {
        reject(new Error(`the terminal's script said: ${text}`));
      }
    });
    child.stdin.end(JSON.stringify(steps));
  });
}
