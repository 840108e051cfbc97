// The question that zeropage is for, in its smallest form: one kernel, two entry paths, what differs where they meet?
//
//   node examples/two-paths.mjs
//
// Both runs stop before the first instruction of start_kernel. From there on a kernel should not be able to tell how it
// was started; registers that differ are worth a look.
// @ts-check
import { Machine, planBoot, readKernel } from 'zeropage';

/** @param {'linux64' | 'pvh'} via */
async function atStartKernel(via) {
  const image = await readKernel('tiny', via);
  const machine = await Machine.create(planBoot(image, { via, cmdline: 'console=ttyS0' }));
  const exit = await machine.run({ until: 'start_kernel', maxInstructions: 1e9 });
  if (exit.kind !== 'until') throw new Error(`${via} never came there: ${exit.detail}`);
  console.log(`${via}: start_kernel after ${machine.instructions} instructions`);
  return machine.vcpu.state();
}

const one = await atStartKernel('linux64');
const other = await atStartKernel('pvh');

for (const name of /** @type {const} */ (['rip', 'rsp', 'rflags', 'cr0', 'cr3', 'cr4', 'efer'])) {
  const [a, b] = [one[name], other[name]].map((value) => `0x${value.toString(16)}`);
  console.log(`${a === b ? ' ' : '*'} ${name.padEnd(6)} ${a.padEnd(18)} ${b}`);
}
