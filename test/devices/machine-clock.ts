/** What device tests share: a clock that they move, a wire that remembers, and an access as the port bus makes it. */
import type { Device, IrqLine } from '../../src/devices/device.ts';

export class ManualClock {
  ns = 0;
  readonly read = (): number => this.ns;
}

/** Counts edges and knows the level. */
export class RecordedLine {
  level = false;
  rises = 0;
  falls = 0;
  readonly pull: IrqLine = (level) => {
    if (level === this.level) throw new Error('a device pulled its wire to where it was');
    this.level = level;
    if (level) this.rises++;
    else this.falls++;
  };
}

export const inb = (device: Device, offset: number): number => device.read(offset, 1);
export const outb = (device: Device, offset: number, value: number): void => device.write(offset, 1, value);
