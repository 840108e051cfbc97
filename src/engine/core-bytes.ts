/** The core's bytes. From source they are made here, once per process; the build replaces this module in dist by one
 * that holds them ready (guests start faster), and a test compares the two.   Next: engine/cpu.ts. */
import { buildCore } from './emit/core.ts';

let bytes: Uint8Array<ArrayBuffer> | undefined;

export function coreBytes(): Uint8Array<ArrayBuffer> {
  bytes ??= buildCore();
  return bytes;
}
