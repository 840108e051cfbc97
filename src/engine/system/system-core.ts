/** SystemCore: what control registers, MSRs and ports need of the CPU beyond CpuCore.
 *
 * Next: engine/system/control.ts. */
import type { CpuModel } from '../../x86/cpuid.ts';
import { type CpuCore, GuestFault, type HelperInsn } from '../core.ts';

export interface SystemCore extends CpuCore {
  readonly model: CpuModel;
  /** Mmu.loadPdptes: false when a reserved bit is set. */
  loadPdptes(cr3: number): boolean;
  /** An MSR that does not exist was read or written; #GP(0) follows. For the report's list. */
  unknownMsr?(number: number, write: boolean): void;
}

/** True: the helper has set RIP. */
// biome-ignore lint/suspicious/noConfusingVoidType: most answer nothing
export type SystemHelper = (core: SystemCore, insn: HelperInsn) => void | boolean;

export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const U32 = 0xffff_ffffn;

export function fault(vector: number, errorCode?: number): never {
  throw new GuestFault(vector, errorCode);
}
