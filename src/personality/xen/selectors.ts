/** Selectors that a guest names in a hypercall, looked up in its descriptor tables.
 *
 * The tables are the CPU's own (Xen maps the guest's pages into them), so what is found here is what an instruction
 * would find.   Follows: SDM Vol. 3, 3.4.2.   Next: personality/xen/emulate.ts. */
import { segmentOf, splitDescriptor } from '../../x86/descriptor.ts';
import type { Segment } from '../../x86/vcpu-state.ts';
import { isLinearFault } from '../personality.ts';
import type { Domain } from './domain.ts';

const LDTR = 6;

/** Undefined for a null selector, one past its table, or an unmapped table. Rights are not judged. */
export function readSegment(domain: Domain, selector: number): Segment | undefined {
  if ((selector & 0xfffc) === 0) return undefined;
  const { state, cpu } = domain;
  const ldt = (selector & 4) !== 0 ? state.segment(LDTR) : undefined;
  const base = ldt ? ldt.base : state.get64('GDTR_BASE');
  const limit = ldt ? (ldt.attributes === 0 ? -1 : ldt.limit) : state.gdtrLimit;
  const offset = selector & 0xfff8;
  if (offset + 7 > limit) return undefined;
  try {
    const bits = cpu.readLinear(BigInt.asUintN(64, base + BigInt(offset)), 8, true);
    return segmentOf(selector, splitDescriptor(bits));
  } catch (e) {
    if (isLinearFault(e)) return undefined;
    throw e;
  }
}
