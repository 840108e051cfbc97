/** BoardHost: the CPU's way to the board, and the one place where their words for the same thing meet.
 *
 * A device that the guest asks for something unbuilt throws an UnbuiltDeviceFunction; the CPU ends a run for an Unbuilt.
 * May not: allocate on the way; some guests do little but port accesses.   Next: machine/personality-host.ts. */
import { UnbuiltDeviceFunction } from '../devices/device.ts';
import { type CpuHost, Unbuilt } from '../engine/core.ts';
import type { Board } from './board.ts';

export class BoardHost implements CpuHost {
  board!: Board; // there before the first instruction
  /** The run loop's word on whether a device access changed when or why it wants the CPU back. */
  settled: () => boolean = () => false;

  portRead(port: number, size: 1 | 2 | 4): number {
    try {
      return this.board.pio.in(port, size);
    } catch (error) {
      throw inCpusWords(error);
    }
  }
  portWrite(port: number, size: 1 | 2 | 4, value: number): void {
    try {
      this.board.pio.out(port, size, value);
    } catch (error) {
      throw inCpusWords(error);
    }
  }
  mmioRead(gpa: number, size: 1 | 2 | 4): number {
    try {
      return this.board.mmio.read(gpa, size);
    } catch (error) {
      throw inCpusWords(error);
    }
  }
  mmioWrite(gpa: number, size: 1 | 2 | 4, value: number): void {
    try {
      this.board.mmio.write(gpa, size, value);
    } catch (error) {
      throw inCpusWords(error);
    }
  }
  nothingMoved(): boolean {
    const { pio } = this.board;
    if (!pio.touched) return true;
    pio.touched = false;
    return this.settled();
  }
  interruptPending(): boolean {
    return this.board.intr();
  }
  acknowledgeInterrupt(): number {
    try {
      return this.board.acknowledge();
    } catch (error) {
      throw inCpusWords(error);
    }
  }
}

function inCpusWords(error: unknown): unknown {
  return error instanceof UnbuiltDeviceFunction
    ? new Unbuilt(`${error.device}: ${error.function}`, 'src/devices')
    : error;
}
