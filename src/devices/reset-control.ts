/** The two reset registers of PC chipsets: 0xcf9 (reset control) and 0x92 (system control port A).
 *
 * Both reset the machine when a bit rises. Port 0x92 also gates address line 20; here that line is always on, so a
 * guest that switches it off asks for something unbuilt.
 * Follows: Intel PIIX3 data sheet, RC register; PS/2 Technical Reference, system control port A.
 * Next: machine/pio-bus.ts. */
import { byte, type Saved } from '../base/saved.ts';
import { type Device, UnbuiltDeviceFunction } from './device.ts';

/** Port 0xcf9. Bit 2 rising resets the machine; bits 1 and 3 choose the kind, all the same here. */
export class ResetControl implements Device {
  readonly name = 'reset control';
  private value = 0;
  private readonly onReset: (how: string) => void;

  constructor(onReset: (how: string) => void) {
    this.onReset = onReset;
  }

  save(): Saved {
    return this.value;
  }

  restore(saved: Saved, where: string): void {
    this.value = byte(saved, where);
  }

  read(_offset: number, _size: 1 | 2 | 4): number {
    return this.value;
  }

  write(_offset: number, _size: 1 | 2 | 4, value: number): void {
    const rising = value & ~this.value & 0x04;
    this.value = value & 0x0e;
    if (rising) this.onReset('reset control register');
  }
}

/** Port 0x92. Bit 0 rising resets the CPU, bit 1 is A20, the rest is stored. */
export class SystemControlA implements Device {
  readonly name = 'system control port A';
  private value = 0x02;
  private readonly onReset: (how: string) => void;

  constructor(onReset: (how: string) => void) {
    this.onReset = onReset;
  }

  save(): Saved {
    return this.value;
  }

  restore(saved: Saved, where: string): void {
    this.value = byte(saved, where);
  }

  read(_offset: number, _size: 1 | 2 | 4): number {
    return this.value;
  }

  write(_offset: number, _size: 1 | 2 | 4, value: number): void {
    const rising = value & ~this.value & 0x01;
    if (!rising && !(value & 0x02)) throw new UnbuiltDeviceFunction(this.name, 'switching address line 20 off');
    this.value = value & 0xff;
    if (rising) this.onReset('system control port A');
  }
}
