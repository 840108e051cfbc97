// Runs one emulator as a process: notes when each line arrives, ends it behind the line that was waited for, and says
// how much the machine was busy with other things meanwhile.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** CPU time in milliseconds: of everybody, of this process with its ended children, and of those children alone. Only
 * Linux tells. */
function cpuTimes() {
  try {
    const everybody = readFileSync('/proc/stat', 'latin1').split('\n', 1)[0].trim().split(/\s+/).slice(1).map(Number);
    const self = readFileSync('/proc/self/stat', 'latin1')
      .replace(/^.*\) /, '')
      .split(' ')
      .map(Number);
    const [user, nice, system, , , irq, softIrq] = everybody;
    const [ownUser, ownSystem, childUser, childSystem] = self.slice(11, 15);
    return {
      all: (user + nice + system + irq + softIrq) * 10, // ticks of 1/100 s
      own: (ownUser + ownSystem + childUser + childSystem) * 10,
      children: (childUser + childSystem) * 10,
    };
  } catch {
    return undefined;
  }
}

/** How many CPUs others kept busy between two readings. */
function foreignCpus(before, after, milliseconds) {
  if (!before || !after) return 0;
  return Math.max(0, (after.all - before.all - (after.own - before.own)) / milliseconds);
}

/** Waits until the machine has been idle for a moment, at most `limit` seconds. */
export async function idleMoment(limit) {
  const end = performance.now() + limit * 1000;
  while (performance.now() < end) {
    const before = cpuTimes();
    const from = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 250));
    if (foreignCpus(before, cpuTimes(), performance.now() - from) < 0.15) return;
  }
}

/** What runs now; a signal takes it along. It leads a process group of its own, for an emulator may start helpers. */
let running;

function killRunning() {
  try {
    if (running) process.kill(-running.pid, 'SIGKILL');
  } catch {
    // It has just ended by itself.
  }
}

for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
]) {
  process.on(signal, () => {
    killRunning();
    process.exit(status);
  });
}

/** Milliseconds that a process gets to end by itself behind its last line. */
const GRACE_MS = 3000;

/** Runs `command` until it ends. `marks` maps a name to the text of a line whose arrival is timed; the run is good when
 * `last` has been seen. All times are milliseconds since the process was started.
 *
 * Resolves to { ok, reason, lines, at: { mark: ms }, wall, cpu (of the process, all threads), foreign (CPUs that others
 * kept busy meanwhile) }. */
export function run(command, { marks = {}, last, timeout = 120 } = {}) {
  return new Promise((resolve) => {
    const result = { ok: false, reason: '', lines: [], at: {}, wall: 0, cpu: 0, foreign: 0 };
    const before = cpuTimes();
    const started = performance.now();
    const elapsed = () => Math.round((performance.now() - started) * 100) / 100;
    const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    running = child;
    let grace;
    const timer = setTimeout(() => {
      result.reason ||= `no ${last ?? 'end'} within ${timeout} s`;
      killRunning();
    }, timeout * 1000);
    let partial = '';
    let errors = '';
    child.stdout.on('data', (data) => {
      const time = elapsed();
      const lines = (partial + data.toString('latin1')).split('\n');
      partial = lines.pop();
      for (const line of lines.map((text) => text.replaceAll('\r', ''))) {
        result.lines.push(line);
        if (line.startsWith('FAIL')) result.reason = line;
        for (const [name, text] of Object.entries(marks)) {
          if (name in result.at || !line.includes(text)) continue;
          result.at[name] = time;
          if (name === last) grace = setTimeout(killRunning, GRACE_MS);
        }
      }
    });
    child.stderr.on('data', (data) => {
      if (errors.length < 4000) errors += data;
    });
    const finish = () => {
      clearTimeout(timer);
      clearTimeout(grace);
      running = undefined;
      resolve(result);
    };
    child.on('error', (error) => {
      result.reason = error.code === 'ENOENT' ? `${command[0]} not found` : error.message;
      finish();
    });
    child.on('close', (code, signal) => {
      const after = cpuTimes();
      result.wall = elapsed();
      if (before && after) result.cpu = after.children - before.children;
      result.foreign = foreignCpus(before, after, result.wall);
      const arrived = last === undefined ? code === 0 : last in result.at;
      if (arrived && !result.reason) result.ok = true;
      else result.reason ||= complaint(errors) ?? `exit ${code ?? signal} before ${last ?? 'its work was done'}`;
      finish();
    });
  });
}

/** The line of standard error that says most: one that names a lack, or the first. */
function complaint(errors) {
  const lines = errors.split('\n').filter((line) => line.trim());
  return (lines.find((line) => line.startsWith('UNSUPPORTED')) ?? lines[0])?.slice(0, 200);
}
