import { Machine, planBoot, readKernel } from '../../src/index.ts';

const image = await readKernel('tiny');                                    // or a file
const plan = planBoot(image, { via: 'pvh', memory: '128M', cmdline: 'console=ttyS0' });
const machine = await Machine.create(plan);
const exit = await machine.run({ until: 'start_kernel', maxInstructions: 2e9 });

console.log(exit.kind, machine.instructions);                              // until 64909
console.log(machine.vcpu.state().cr3.toString(16));                        // registers are bigint
machine.step(1);                                                           // go on by one instruction
await machine.run({ maxInstructions: 2e9 });
console.log(machine.console.text);
