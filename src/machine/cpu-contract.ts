/** What the machine asks of a CPU, until engine/cpu.ts stands. */
import type { CpuHost } from '../engine/core.ts';
import type { CpuModel } from '../x86/cpuid.ts';
import type { VcpuState } from '../x86/vcpu-state.ts';
import type { FaultRecord } from './exit-reason.ts';

export type CpuExit =
  | { kind: 'budget' }
  | { kind: 'halt' }
  | { kind: 'event' }
  | { kind: 'breakpoint'; at: bigint }
  | { kind: 'triple-fault' }
  | { kind: 'fault-loop' }
  | { kind: 'unbuilt'; what: string; table: string };

export interface Cpu {
  readonly buffer: ArrayBuffer;
  readonly ramOffset: number;
  state(): VcpuState;
  setState(state: Partial<VcpuState>): void;
  readonly instructions: number;
  idleNs: number;
  readonly now: number;
  run(untilInstructions: number): CpuExit;
  setBreakpoints(addresses: Iterable<bigint>): void;
  readonly firstFault: FaultRecord | undefined;
  readonly faultCount: number;
  recentBlocks(n: number): bigint[];
  physicalWritten(gpa: number, length: number): void;
  registerBytes(): Uint8Array;
}

export async function createCpu(_options: { ramSize: number; cpuModel: CpuModel; host: CpuHost }): Promise<Cpu> {
  throw new Error('the CPU is not there yet');
}
