// Boots a kernel from JavaScript and looks at it from outside, then from inside.
//
//   node examples/boot.mjs                 the built-in guest
//   node examples/boot.mjs /boot/vmlinuz   a kernel of yours
//
// Three steps: a file becomes an image, an image becomes a plan, a plan becomes a machine. Each can be looked at before
// the next one, and nothing here depends on the time of day or the speed of this computer.
// @ts-check
import { Machine, planBoot, readKernel } from 'zeropage';

const kernel = process.argv[2] ?? 'tiny';

// 1. The image: what the file says about itself. A file that is damaged throws an ImageError here.
const image = await readKernel(kernel);
console.log(`${image.name} is a ${image.format}`);

// 2. The plan: what a loader would do, as data. The same image could be planned through another entry path. A kernel
// that does not have the entry throws a BootError, and the error says what would help.
const plan = planBoot(image, { via: 'linux64', memory: '128M', cmdline: 'console=ttyS0' });
for (const { what, at, length, purpose } of plan.writes) {
  console.log(`  ${what} at 0x${at.toString(16)}, ${length} bytes: ${purpose}`);
}

// 3. The machine: memory with the plan in it, a CPU, devices. It runs as far as we say.
const machine = await Machine.create(plan);
const arrived = await machine.run({ until: 'start_kernel', maxInstructions: 2e9 });
console.log(`${arrived.kind}: ${arrived.detail}, after ${machine.instructions} instructions`);

// A stopped machine can be read and changed. Registers are bigint, memory is a view by physical address.
const { rip, cr3 } = machine.vcpu.state();
console.log(`rip is 0x${rip.toString(16)}, the page tables are at 0x${cr3.toString(16)}`);
console.log(`the zero page's type_of_loader is 0x${machine.memory.bytes(0x10000 + 0x210, 1)[0].toString(16)}`);

// One instruction, then everything else. Whatever the guest does comes back as a value with an exit code, never as an
// exception: a panic, a triple fault, an instruction that zeropage has not built.
machine.step(1);
const exit = await machine.run({ maxInstructions: 2e9, timeoutSeconds: 60 });
console.log(machine.console.text);
console.log(`${exit.kind}: ${exit.detail}`);
process.exitCode = exit.code;
