/** The debug console at port 0xe9 of Bochs and QEMU: each byte written is a character, and the port reads as 0xe9.
 *
 * A guest tests for it by that read. It needs no set-up at all, which is why it works before any driver does.
 * May not: buffer or interpret anything.   Next: devices/reset-control.ts. */
import type { Device } from './device.ts';

export class DebugConsole implements Device {
  readonly name = 'debug console';
  readonly stateless = true;
  private readonly transmit: (byte: number) => void;

  constructor(transmit: (byte: number) => void) {
    this.transmit = transmit;
  }

  read(_offset: number, _size: 1 | 2 | 4): number {
    return 0xe9;
  }

  write(_offset: number, _size: 1 | 2 | 4, value: number): void {
    this.transmit(value & 0xff);
  }
}
