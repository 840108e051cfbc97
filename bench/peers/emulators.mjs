// The emulators, and how each is asked to run one of the guest images. Every one runs in a process of its own, writes
// the guest's first serial port to standard output, and has 128 MiB of RAM and one processor.

import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
export const QEMU = process.env.QEMU || 'qemu-system-x86_64';
export const MAIN = here('../../dist/cli/main.js');

/** biome-ignore format: options that belong together stand together */
const qemu = (guest) => [
  QEMU, '-M', 'pc', '-m', '128', '-smp', '1', '-accel', 'tcg,thread=single',
  '-nodefaults', '-display', 'none', '-vga', 'none', '-serial', 'stdio', '-monitor', 'none', '-no-reboot',
  '-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04', '-kernel', guest.image, '-append', guest.cmdline,
];
const v86 = (guest) => [process.execPath, here('v86-run.mjs'), '--image', guest.image, '--append', guest.cmdline];
const no64Bit = ({ bits }) => (bits === 64 ? 'v86 has no 64-bit mode' : undefined);

/** `lacks` says why a guest cannot run there. `pace` is a guess at its speed beside QEMU's, for a first number of
 * iterations that does not take minutes; what is measured does not depend on it. */
export const EMULATORS = {
  qemu: { pace: 1, command: qemu },
  // Counts instructions, as zeropage does.
  icount: { pace: 0.5, command: (guest) => [...qemu(guest), '-icount', 'shift=0'] },
  v86: { pace: 0.5, command: v86, lacks: no64Bit },
  v86i: { pace: 0.04, command: (guest) => [...v86(guest), '--no-jit'], lacks: no64Bit },
  zeropage: {
    pace: 0.2,
    /** biome-ignore format: options that belong together stand together */
    command: ({ image, bits, cmdline }) => [
      process.execPath, MAIN, 'boot', image, '--via', bits === 64 ? 'pvh' : 'multiboot',
      '--memory', '128M', '--quiet', '--append', cmdline,
    ],
  },
};
