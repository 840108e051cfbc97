/** Port 0x61, system control port B: the speaker's two gates, and a look at the timer.
 *
 * Bit 0 gates counter 2, bit 1 lets it through to the speaker, bit 4 toggles with each memory refresh, bit 5 is OUT of
 * counter 2. Linux calibrates its clock with bits 0 and 5. Bits 2 and 3 disable checks that never fail here.
 * Follows: IBM PC/AT Technical Reference, system board port 61h.   May not: make a sound.
 * Next: devices/i8259.ts. */
import { byte, type Saved } from '../base/saved.ts';
import type { Device } from './device.ts';
import type { I8254 } from './i8254.ts';

/** Counter 1 requests a refresh every 18 clock edges (15.1 us) on every PC; nobody has to program it for this bit. */
const REFRESH_EDGES = 18;

export class Port61 implements Device {
  readonly name = 'port 61';
  private value = 0;
  private readonly pit: I8254;

  constructor(pit: I8254) {
    this.pit = pit;
  }

  save(): Saved {
    return this.value;
  }

  restore(saved: Saved, where: string): void {
    this.value = byte(saved, where);
  }

  read(_offset: number, _size: 1 | 2 | 4): number {
    const refresh = Math.floor(this.pit.edges() / REFRESH_EDGES) % 2 === 1;
    return this.value | (refresh ? 0x10 : 0) | (this.pit.out2() ? 0x20 : 0);
  }

  write(_offset: number, _size: 1 | 2 | 4, value: number): void {
    this.value = value & 0x0f;
    this.pit.setGate2((value & 0x01) !== 0);
  }
}
