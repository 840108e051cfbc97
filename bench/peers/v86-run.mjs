// Runs one guest image in v86 without a screen, in this process: its serial port on standard output, until its DONE line.
//
//   node v86-run.mjs --image FILE --append TEXT [--mem MIB] [--no-jit]

import { readFileSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: {
    image: { type: 'string' },
    append: { type: 'string', default: '' },
    mem: { type: 'string', default: '128' },
    'no-jit': { type: 'boolean', default: false },
  },
});

function unsupported(why, status) {
  console.error(`UNSUPPORTED ${why}`);
  process.exit(status);
}
process.on('uncaughtException', (error) => unsupported(`v86 threw: ${error?.stack ?? error}`, 4));
process.on('unhandledRejection', (error) => unsupported(`v86 threw: ${error?.stack ?? error}`, 4));

let main;
try {
  main = createRequire(import.meta.url).resolve('v86');
} catch {
  unsupported('v86 is not installed: sh bench/peers/setup-v86.sh', 3);
}
const { V86 } = await import(pathToFileURL(main).href);
const image = readFileSync(options.image);

const machine = new V86({
  wasm_path: join(dirname(main), 'v86.wasm'),
  memory_size: Number(options.mem) << 20,
  vga_memory_size: 2 << 20,
  multiboot: { buffer: image.buffer.slice(image.byteOffset, image.byteOffset + image.length) },
  cmdline: options.append,
  autostart: true,
  disable_jit: options['no-jit'],
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
  net_device: { type: 'none' },
});

let line = [];
machine.add_listener('serial0-output-byte', (byte) => {
  line.push(byte);
  if (byte !== 10) return;
  const bytes = Buffer.from(line);
  line = [];
  writeSync(1, bytes);
  if (bytes.toString('latin1').startsWith('DONE')) process.exit(0);
});
