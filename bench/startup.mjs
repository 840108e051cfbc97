// From the start of the process to the tiny guest's verdict, as a user waits for it; beside it, what Node itself takes.
//
//   node bench/startup.mjs

import { fileURLToPath } from 'node:url';
import { MAIN } from './peers/emulators.mjs';
import { idleMoment, run } from './peers/process.mjs';
import { median } from './statistics.mjs';

/** Milliseconds: the median of so many starts of each, in turn. `verdict` is when the line has arrived here, `end` when
 * the process has ended, `node` when `node -e 0` has. */
export async function measureStartup(starts = 10, quietWait = 2) {
  const boots = [];
  const nodes = [];
  for (let i = 0; i < starts; i++) {
    await idleMoment(quietWait);
    const command = [process.execPath, MAIN, 'boot', '--quiet'];
    const boot = await run(command, { marks: { verdict: 'verdict: success' }, last: 'verdict' });
    if (!boot.ok) return { ok: false, reason: boot.reason };
    boots.push(boot);
    nodes.push(await run([process.execPath, '-e', '0']));
  }
  return {
    ok: true,
    starts,
    verdict: median(boots.map(({ at }) => at.verdict)),
    end: median(boots.map(({ wall }) => wall)),
    node: median(nodes.map(({ wall }) => wall)),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { ok, reason, starts, verdict, node } = await measureStartup();
  if (!ok) throw new Error(reason);
  const input = `boot tiny, median of ${starts} (node -e 0: ${node.toFixed(0)} ms, Node ${process.version})`;
  console.log(`start to verdict: ${verdict.toFixed(0)} ms, ${input}`);
}
