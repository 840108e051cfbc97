/** The I/O port bus: 65536 ports, each with a device, a known hole, or nothing.
 *
 * A row of the board's table claims a range of ports. The lookup is one byte of a flat table, and no access allocates.
 * A device of byte-wide registers sees a 2- or 4-byte access as that many single ones at rising ports, each going to
 * whoever owns that port, as an ISA bus controller splits it; a `wide` row takes an access whole.
 * Ports without a device read all-ones and ignore writes; both are counted, and `absentAccesses` tells by range.
 * May not: know any address; machine/board.ts has them all.   Next: machine/mmio-bus.ts. */
import { assert } from '../base/errors.ts';
import { record, type Saved, uint32s } from '../base/saved.ts';
import type { Device } from '../devices/device.ts';

export type AccessSize = 1 | 2 | 4;

/** Where a device sits on the port bus, or a hole that has a name. */
export type PioRow = { port: number; length: number; wide?: boolean } & ({ device: Device } | { absent: string });

/** How often a range of ports without a device was read and written. */
export type AbsentRange = { first: number; last: number; name: string; reads: number; writes: number };

const PORTS = 65_536;

export class PioBus {
  /** The port to row table; 0 is nobody. */
  private readonly owner = new Uint8Array(PORTS);
  private readonly devices: (Device | undefined)[] = [undefined];
  private readonly firstPorts: number[] = [0];
  private readonly wide: boolean[] = [false];
  private readonly names: string[] = ['unassigned'];
  /** Set by every access that reached a device, and by one whose device may move events; whoever wants to know clears
   * them. */
  touched = false;
  eventsTouched = false;
  private readonly absentReads = new Uint32Array(PORTS);
  private readonly absentWrites = new Uint32Array(PORTS);

  /** Later rows win, so that a register inside a larger hole can be given a device of its own. */
  constructor(rows: readonly PioRow[]) {
    assert(rows.length < 256, 'the port table has room for 255 rows');
    for (const row of rows) {
      assert(row.port >= 0 && row.length > 0 && row.port + row.length <= PORTS, 'a row lies inside the 65536 ports');
      const index = this.devices.length;
      this.devices.push('device' in row ? row.device : undefined);
      this.names.push('device' in row ? row.device.name : row.absent);
      this.firstPorts.push(row.port);
      this.wide.push(row.wide ?? false);
      this.owner.fill(index, row.port, row.port + row.length);
    }
  }

  /** Reads 1, 2 or 4 bytes; the value is unsigned and no wider than `size`. Ports wrap at 64 KiB. */
  in(port: number, size: AccessSize): number {
    const at = port & 0xffff;
    const index = this.owner[at];
    if (size === 1 || this.wide[index]) {
      const device = this.devices[index];
      if (device !== undefined) {
        this.touch(device);
        return truncate(device.read(at - this.firstPorts[index], size), size);
      }
      this.absentReads[at]++;
      return truncate(-1, size);
    }
    const low = this.in(at, 1) | (this.in(at + 1, 1) << 8);
    if (size === 2) return low;
    return (low | (this.in(at + 2, 1) << 16) | (this.in(at + 3, 1) << 24)) >>> 0;
  }

  private touch(device: Device): void {
    this.touched = true;
    if (device.movesEvents !== false) this.eventsTouched = true;
  }

  /** Writes the low `size` bytes of `value`. */
  out(port: number, size: AccessSize, value: number): void {
    const at = port & 0xffff;
    const index = this.owner[at];
    if (size === 1 || this.wide[index]) {
      const device = this.devices[index];
      if (device !== undefined) {
        this.touch(device);
        device.write(at - this.firstPorts[index], size, truncate(value, size));
      } else this.absentWrites[at]++;
      return;
    }
    for (let i = 0; i < size; i++) this.out(at + i, 1, value >>> (8 * i));
  }

  /** Counts of accesses without a device: port, reads, writes for each that has any. */
  save(): Saved {
    const touched: number[] = [];
    for (let port = 0; port < PORTS; port++) {
      const reads = this.absentReads[port];
      const writes = this.absentWrites[port];
      if (reads + writes > 0) touched.push(port, reads, writes);
    }
    return { absent: Uint32Array.from(touched) };
  }

  restore(saved: Saved, where: string): void {
    const { absent } = record({ absent: uint32s() })(saved, where);
    this.absentReads.fill(0);
    this.absentWrites.fill(0);
    for (let i = 0; i + 2 < absent.length; i += 3) {
      this.absentReads[absent[i] & 0xffff] = absent[i + 1];
      this.absentWrites[absent[i] & 0xffff] = absent[i + 2];
    }
  }

  /** Touched ports without a device, neighbours of one name merged, in order of port. */
  absentAccesses(): AbsentRange[] {
    const ranges: AbsentRange[] = [];
    for (let port = 0; port < PORTS; port++) {
      const reads = this.absentReads[port];
      const writes = this.absentWrites[port];
      if (reads === 0 && writes === 0) continue;
      const name = this.names[this.owner[port]];
      const previous = ranges.at(-1);
      if (previous?.last === port - 1 && previous.name === name) {
        previous.last = port;
        previous.reads += reads;
        previous.writes += writes;
      } else ranges.push({ first: port, last: port, name, reads, writes });
    }
    return ranges;
  }
}

function truncate(value: number, size: AccessSize): number {
  return size === 1 ? value & 0xff : size === 2 ? value & 0xffff : value >>> 0;
}
