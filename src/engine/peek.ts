/** peekLinear: what lies at a linear address, for traces, reports and waypoints.
 *
 * Nothing is touched on the way: no accessed bit is set, no translation is cached, no fault is raised.
 * May not: be used for anything that the guest does.   Next: engine/return-address.ts. */
import type { CpuState } from './cpu-state.ts';
import { RAM } from './state.ts';
import { walkTrace } from './walk-trace.ts';

/** A copy of `length` bytes; undefined where a page is missing or lies outside RAM. */
export function peekLinear(state: CpuState, ramSize: number, address: bigint, length: number): Uint8Array | undefined {
  const width = state.is64 ? 64 : 32;
  const out = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const linear = BigInt.asUintN(width, address + BigInt(done));
    const offset = Number(linear & 0xfffn);
    const part = Math.min(length - done, 4096 - offset);
    const gpa = walkTrace(state, ramSize, linear - BigInt(offset)).gpa;
    if (gpa === undefined || gpa + offset + part > ramSize) return undefined;
    out.set(state.bytes.subarray(RAM + gpa + offset, RAM + gpa + offset + part), done);
    done += part;
  }
  return out;
}
