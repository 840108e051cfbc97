/** Runs the command line as a user does, from source. Each start costs about half a second: use it for what needs a
 * process (streams, signals, exit codes), and everything else in process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const NODE_ARGS = ['--import', 'tsx', MAIN];

/** As a shell reads it. */
export const COMMAND = [process.execPath, ...NODE_ARGS].map((word) => `'${word}'`).join(' ');

export type Finished = { code: number | null; signal: string | null; stdout: string; stderr: string };

export function zeropage(
  args: readonly string[],
  { input = '', during }: { input?: string | null; during?: (child: ChildProcess, stdout: () => string) => void } = {},
): Promise<Finished> {
  const child = spawn(process.execPath, [...NODE_ARGS, ...args], {
    stdio: 'pipe',
    env: { ...process.env, NO_COLOR: '1' },
  });
  return new Promise((resolve, reject) => {
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('latin1').on('data', (part) => {
      stdout += part;
      during?.(child, () => stdout);
    });
    child.stderr.setEncoding('utf8').on('data', (part) => {
      stderr += part;
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
    if (input !== null) child.stdin.end(input);
  });
}

/** The same through a shell, for pipes: `$ZEROPAGE` stands for the command. */
export function shell(script: string): Promise<Finished> {
  const child = spawn('bash', ['-c', script.replaceAll('$ZEROPAGE', COMMAND)], { stdio: ['ignore', 'pipe', 'pipe'] });
  return new Promise((resolve, reject) => {
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('latin1').on('data', (part) => {
      stdout += part;
    });
    child.stderr.setEncoding('utf8').on('data', (part) => {
      stderr += part;
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

export const scratch = () => mkdtempSync(join(tmpdir(), 'zeropage-'));
