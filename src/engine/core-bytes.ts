/** The core's bytes, and the numbers of its handlers. From source they are made here, once per process; the build replaces
 * this module in dist by one that holds them ready (guests start faster), and a test compares the two.
 * May not: know anything else of the emitter, which dist then never loads.   Next: engine/blocks.ts. */
import { buildCore, type Handlers, planHandlers } from './emit/core.ts';
import type { LoopMode } from './emit/hot.ts';

let bytes: Uint8Array<ArrayBuffer> | undefined;
const handlers: Partial<Record<LoopMode, Handlers>> = {};

export function coreBytes(): Uint8Array<ArrayBuffer> {
  bytes ??= buildCore();
  return bytes;
}

export function coreHandlers(mode: LoopMode): Handlers {
  const made = handlers[mode] ?? planHandlers(mode).handlers;
  handlers[mode] = made;
  return made;
}
