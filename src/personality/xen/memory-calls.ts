/** The memory rules as rows of the hypercall table; what they do is in mmu-calls.ts, mmuext-calls.ts and descriptors.ts.
 *
 * Next: personality/xen/domain-memory.ts. */
import type { Domain } from './domain.ts';
import { int32 } from './guest-values.ts';
import type { Hypercall, HypercallArgs } from './hypercall-row.ts';
import { RESTART, type RequestList, requestList } from './mmu-calls.ts';

export const PAGE_TABLE_CALLS: readonly Hypercall[] = [
  { number: 1, name: 'mmu_update', call: (domain, args) => list(domain, args, (call) => domain.memory.mmu.mmuUpdate(call)) },
  { number: 26, name: 'mmuext_op', call: (domain, args) => list(domain, args, (call) => domain.memory.mmuext.mmuextOp(call)) },
  {
    number: 14,
    name: 'update_va_mapping',
    call: (domain, [address, entry, flags]) => domain.memory.mmu.updateVaMapping(address, entry, flags),
  },
  {
    number: 22,
    name: 'update_va_mapping_otherdomain',
    call: (domain, [address, entry, flags, owner]) =>
      domain.memory.mmu.updateVaMapping(address, entry, flags, int32(owner) & 0xffff),
  },
  { number: 2, name: 'set_gdt', call: (domain, [frames, entries]) => domain.memory.descriptors.setGdt(frames, int32(entries)) },
  {
    number: 10,
    name: 'update_descriptor',
    call: (domain, [address, descriptor]) => domain.memory.descriptors.update(address, descriptor),
  },
]; // biome-ignore format: rows

/** A list that is not finished goes on when the guest executes the hypercall again. */
function list(domain: Domain, args: HypercallArgs, run: (call: RequestList) => number): number {
  const call = requestList(args);
  const result = run(call);
  if (result !== RESTART) return result;
  domain.again = [BigInt.asUintN(64, call.list), BigInt(call.count >>> 0), args[2], args[3], args[4]];
  return 0;
}
