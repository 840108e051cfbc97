/** The debug-exit port: whatever the guest writes here ends the run.
 *
 * QEMU's isa-debug-exit has the same shape, and test kernels know it. Reads give 0, as there.
 * What a value means (success, failure) is decided in machine/verdict.ts.
 * May not: end anything itself; it reports the value to its owner.   Next: devices/debug-console.ts. */
import type { Device } from './device.ts';

export class DebugExit implements Device {
  readonly name = 'debug-exit';
  readonly stateless = true;
  private readonly onExit: (value: number) => void;

  constructor(onExit: (value: number) => void) {
    this.onExit = onExit;
  }

  read(_offset: number, _size: 1 | 2 | 4): number {
    return 0;
  }

  /** An access of 1, 2 or 4 bytes at the first port is one value; the port takes it whole. */
  write(offset: number, size: 1 | 2 | 4, value: number): void {
    if (offset !== 0) return; // a write behind the first port is no exit request
    this.onExit(size === 4 ? value >>> 0 : value & (size === 2 ? 0xffff : 0xff));
  }
}
