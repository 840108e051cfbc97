/** A process that saves a machine whose memory does not pack, over the file that is named: something to kill. */
import { saveState } from '../../src/cli/snapshot.ts';
import { flatImage } from '../../src/image/parse.ts';
import { planBoot } from '../../src/index.ts';
import { Machine } from '../../src/machine/machine.ts';

const plan = planBoot(flatImage('code', Uint8Array.of(0xf4)), { via: 'flat32', memory: '48M' });
const machine = await Machine.create(plan, {});
const noise = new Uint8Array(65_536);
for (let at = 0x20_0000; at < 0x300_0000; at += noise.length) {
  crypto.getRandomValues(noise);
  machine.memory.write(at as never, noise);
}
saveState(process.argv[2], machine, 'code');
