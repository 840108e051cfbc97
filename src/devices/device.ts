/** What a device is: a thing on a bus that sees offsets, a clock and the wires it pulls, and nothing else.
 *
 * A device never learns its address (machine/board.ts gives it one) and never touches the CPU or guest memory.
 * Time is virtual: nanoseconds since the first instruction, derived from the instruction count.
 * What a device remembers belongs into a snapshot: it saves and restores it, or says that there is nothing (`stateless`). A
 * board with a device that does neither cannot be saved.
 * Next: devices/uart16550.ts. */
import type { Saved } from '../base/saved.ts';

/** The wire a device pulls; the interrupt controller is at the other end. */
export type IrqLine = (level: boolean) => void;

/** Virtual time in nanoseconds. Never the host's. */
export type Clock = () => number;

export interface Device {
  /** As it appears in reports and in the port map. */
  readonly name: string;
  /** Reads `size` bytes (1, 2 or 4) at `offset` from the device's first port; unused high bits are ignored. */
  read(offset: number, size: 1 | 2 | 4): number;
  write(offset: number, size: 1 | 2 | 4, value: number): void;
  /** False for a device whose accesses never change when another event comes: no timer, no interrupt controller. */
  readonly movesEvents?: boolean;
  /** The virtual time (ns) at which the device wants `tick` called, or undefined when it waits for nothing. */
  nextEvent?(): number | undefined;
  /** Called at or after the time that nextEvent gave. */
  tick?(): void;
  /** Nothing that the guest or time does changes how it answers. */
  readonly stateless?: true;
  /** Its registers and latches, levels of its wires included; a wire is not pulled when they come back. */
  save?(): Saved;
  restore?(saved: Saved, where: string): void;
}

/** A function of a modelled device that zeropage has not built; the machine ends the run with exit 6 by this name. */
export class UnbuiltDeviceFunction extends Error {
  readonly device: string;
  readonly function: string;
  constructor(device: string, what: string) {
    super(`${device}: ${what} is not built`);
    this.name = 'UnbuiltDeviceFunction';
    this.device = device;
    this.function = what;
  }
}
