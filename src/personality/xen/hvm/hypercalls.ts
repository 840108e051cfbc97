/** Hypercalls of a PVH guest: what VMMCALL (or VMCALL) means in its kernel.
 *
 * The number is in EAX. In 64-bit code arguments are in RDI, RSI, RDX, R10 and R8 and the result goes into RAX; in 32-bit
 * code they are in EBX, ECX, EDX, ESI and EDI, structs have the 32-bit form, and the result goes into EAX. Only CPL 0 may
 * call. A long call does a part and has the guest execute its instruction again.
 * Follows: xen/arch/x86/hvm/hypercall.c (hvm_hypercall), xen/common/multicall.c.
 * May not: know what a call does.   Next: personality/xen/hvm/memory-op.ts. */
import { MulticallEntry, MulticallEntry32 } from '../../../layout/xen/memory-arguments.ts';
import { CONSOLE_CALLS } from '../console.ts';
import { EINVAL, ENOSYS, EPERM } from '../errno.ts';
import { EVENT_CALLS } from '../event-calls.ts';
import { GRANT_CALLS } from '../grant.ts';
import { int32 } from '../guest-values.ts';
import { CALLS_AT_ONCE, type Hypercall, type HypercallArgs, notBuilt, perform, refused } from '../hypercall-row.ts';
import { SCHED_CALLS } from '../sched.ts';
import { VCPU_CALLS } from '../vcpu.ts';
import { VERSION_CALLS } from '../version.ts';
import type { HvmDomain } from './domain.ts';
import { hvmOp } from './hvm-op.ts';
import { memoryOp } from './memory-op.ts';

type Row = Hypercall<HvmDomain>;

/** rax; then rdi rsi rdx r10 r8, or ebx ecx edx esi edi. */
const RAX = 0;
const ARGUMENTS_64 = [7, 6, 2, 10, 8] as const;
const ARGUMENTS_32 = [3, 1, 2, 6, 7] as const;
const ROWS: readonly Row[] = [
  ...VERSION_CALLS,
  ...CONSOLE_CALLS,
  ...EVENT_CALLS,
  ...VCPU_CALLS,
  ...SCHED_CALLS.filter(({ name }) => name === 'sched_op'),
  ...GRANT_CALLS,
  { number: 12, name: 'memory_op', call: memoryOp },
  { number: 13, name: 'multicall', call: multicall },
  { number: 34, name: 'hvm_op', call: hvmOp },
  // Interrupts of devices are routed by the guest's own interrupt controllers, and it has no device of Xen's.
  refused(33, 'physdev_op', ENOSYS),
  refused(7, 'platform_op', EPERM),
  notBuilt(26, 'mmuext_op'),
  notBuilt(27, 'xsm_op'),
  refused(35, 'sysctl', EPERM),
  refused(36, 'domctl', EPERM),
  notBuilt(38, 'tmem_op'),
  notBuilt(39, 'argo_op'),
  refused(40, 'xenpmu_op', ENOSYS),
  refused(41, 'dm_op', EPERM),
  refused(42, 'hypfs_op', EPERM),
];

const TABLE: ReadonlyMap<number, Row> = new Map(ROWS.map((row) => [row.number, row]));

/** The call at state.rip; true when the instruction is to run again, with the arguments for what is left. */
export function hvmHypercall(domain: HvmDomain): boolean {
  const { state } = domain;
  const is64 = state.is64;
  const registers = is64 ? ARGUMENTS_64 : ARGUMENTS_32;
  const width = is64 ? 8 : 4;
  const setResult = (value: number | bigint) =>
    state.setGpr(RAX, BigInt.asUintN(8 * width, BigInt(value)), width);
  if (state.cpl !== 0) {
    setResult(-EPERM);
    return false;
  }
  const number = int32(state.gpr(RAX));
  const args = registers.map((register) => state.gpr(register, width)) as unknown as HypercallArgs;
  domain.caller32 = !is64;
  tell(domain, number, args);
  const result = call(domain, number, args);
  if (domain.again) {
    for (const [i, value] of domain.again.entries()) state.setGpr(registers[i], BigInt.asUintN(8 * width, value), width);
    domain.again = undefined;
    return true;
  }
  if (result !== undefined) setResult(result);
  return false;
} // biome-ignore format: lines

const call = (domain: HvmDomain, number: number, args: HypercallArgs): number | bigint | undefined =>
  perform(TABLE.get(number), number, domain, args);

/** For traces. */
function tell({ world }: HvmDomain, number: number, values: HypercallArgs): void {
  world.told?.({ kind: 'hypercall', number, name: TABLE.get(number)?.name ?? `hypercall ${number}`, values });
}

/** One call after the other, each with a result of its own. */
function multicall(domain: HvmDomain, [list, count]: HypercallArgs): number {
  if (domain.inMulticall) return -EINVAL;
  const form = domain.caller32 ? MulticallEntry32 : MulticallEntry;
  const word = domain.caller32 ? 4 : 8;
  const setWord = (at: bigint, value: bigint) =>
    domain.caller32 ? domain.setGuest32(at, Number(BigInt.asUintN(32, value))) : domain.setGuest64(at, value);
  const calls = int32(count);
  domain.inMulticall = true;
  try {
    for (let i = 0; i < calls; i++) {
      const at = BigInt.asUintN(64, list + BigInt(i * form.size));
      if (i === CALLS_AT_ONCE) {
        domain.again = [at, BigInt(calls - i), 0n, 0n, 0n];
        return 0;
      }
      const entry = form.read(domain.copyFromGuest(at, form.size));
      const number = int32(BigInt(entry.op));
      const passed = entry.args.slice(0, 5).map(BigInt) as unknown as HypercallArgs;
      tell(domain, number, passed);
      const result = call(domain, number, passed);
      if (domain.ended) return 0;
      if (domain.again) {
        const args = BigInt(form.offsetOf('args'));
        for (const [n, value] of domain.again.entries()) setWord(at + args + BigInt(word * n), value);
        domain.again = [at, BigInt(calls - i), 0n, 0n, 0n];
        return 0;
      }
      setWord(at + BigInt(form.offsetOf('result')), BigInt(result ?? 0));
    }
    return 0;
  } finally {
    domain.inMulticall = false;
  }
}
