/** Hypercalls: what SYSCALL means in a PV guest's kernel.
 *
 * The number is in RAX, arguments are in RDI, RSI, RDX, R10 and R8, and the result goes into RAX. SYSCALL itself leaves
 * the next RIP in RCX and RFLAGS in R11, and Xen goes back by SYSRET, so CS and SS are its own flat ones afterwards. A
 * call that would take too long does a part and has the guest execute its instruction again. A multicall is a list of
 * calls, each with a result of its own.
 * Follows: xen/arch/x86/pv/hypercall.c, xen/common/multicall.c; xen/include/public/xen.h.
 * May not: know what a call does.   Next: personality/xen/hypercall-row.ts. */
import { MulticallEntry } from '../../layout/xen/memory-arguments.ts';
import { CONSOLE_CALLS } from './console.ts';
import type { Domain } from './domain.ts';
import { EFAULT, EINVAL, EOPNOTSUPP, EPERM, Refused } from './errno.ts';
import { EVENT_CALLS } from './event-calls.ts';
import { GRANT_CALLS } from './grant.ts';
import { int32 } from './guest-values.ts';
import { CALLS_AT_ONCE, type Hypercall, type HypercallArgs, notBuilt, perform, refused } from './hypercall-row.ts';
import { IRET_CALLS } from './iret.ts';
import { PAGE_TABLE_CALLS } from './memory-calls.ts';
import { MEMORY_CALLS } from './memory-op.ts';
import { VCPU_SETUP_CALLS } from './misc.ts';
import { WORK_LIMIT } from './mmu-calls.ts';
import { PHYSDEV_CALLS } from './physdev.ts';
import { SCHED_CALLS } from './sched.ts';
import { enterFlat, R8, R10, R11, RAX, RCX, RDI, RDX, RSI } from './traps.ts';
import { VCPU_CALLS } from './vcpu.ts';
import { VERSION_CALLS } from './version.ts';

const ARGUMENTS = [RDI, RSI, RDX, R10, R8] as const;
const ROWS: readonly Hypercall[] = [
  ...VCPU_SETUP_CALLS,
  ...PAGE_TABLE_CALLS,
  ...MEMORY_CALLS,
  ...VERSION_CALLS,
  ...CONSOLE_CALLS,
  ...EVENT_CALLS,
  ...VCPU_CALLS,
  ...SCHED_CALLS,
  ...GRANT_CALLS,
  ...PHYSDEV_CALLS,
  ...IRET_CALLS,
  { number: 13, name: 'multicall', call: multicall },
  refused(7, 'platform_op', EPERM),
  notBuilt(16, 'event_channel_op_compat'),
  notBuilt(19, 'physdev_op_compat'),
  notBuilt(27, 'xsm_op'),
  notBuilt(31, 'xenoprof_op'),
  notBuilt(34, 'hvm_op'),
  refused(35, 'sysctl', EPERM),
  refused(36, 'domctl', EPERM),
  refused(37, 'kexec_op', EPERM),
  notBuilt(38, 'tmem_op'),
  notBuilt(39, 'argo_op'),
  refused(40, 'xenpmu_op', EOPNOTSUPP),
  refused(41, 'dm_op', EPERM),
  refused(42, 'hypfs_op', EPERM),
];

const TABLE: readonly (Hypercall | undefined)[] = (() => {
  const table: (Hypercall | undefined)[] = new Array(64).fill(undefined);
  for (const row of ROWS) table[row.number] = row;
  return table;
})();

/** The hypercall at state.rip: registers as SYSRET leaves them, or as the instruction found them if it is to run again. */
export function hypercall(domain: Domain, nextRip: bigint): void {
  const { state } = domain;
  const rip = state.rip;
  const number = state.gpr(RAX);
  const args = ARGUMENTS.map((register) => state.gpr(register)) as unknown as HypercallArgs;
  tell(domain, number, args);
  state.rip = nextRip;
  state.setGpr(RCX, nextRip);
  state.setGpr(R11, BigInt(state.rflags >>> 0));
  enterFlat(domain);
  const result = call(domain, number, args);
  if (domain.again) {
    state.rip = rip;
    for (const [i, value] of domain.again.entries()) state.setGpr(ARGUMENTS[i], BigInt.asUintN(64, value));
    domain.again = undefined;
  } else if (result !== undefined) state.setGpr(RAX, BigInt.asUintN(64, BigInt(result)));
}

const call = (domain: Domain, number: bigint, args: HypercallArgs): number | bigint | undefined =>
  perform(number < 64n ? TABLE[Number(number)] : undefined, number, domain, args);

/** For traces. */
function tell({ world }: Domain, number: bigint, args: HypercallArgs): void {
  if (!world.told) return;
  const name = number < 64n ? TABLE[Number(number)]?.name : undefined;
  world.told({ kind: 'hypercall', number: Number(number), name: name ?? `hypercall ${number}`, values: args });
}

const IRET = 23n;
const RESULT = BigInt(MulticallEntry.offsetOf('result'));
const ARGS = BigInt(MulticallEntry.offsetOf('args'));

/** One call after the other; an iret among them ends the batch, for the guest is elsewhere then. */
function multicall(domain: Domain, [list, count]: HypercallArgs): number | bigint | undefined {
  if (domain.inMulticall) return -EINVAL;
  const calls = int32(count);
  const { types } = domain.memory;
  types.work = 0;
  let work = 0;
  domain.inMulticall = true;
  try {
    for (let i = 0; i < calls; i++) {
      const at = BigInt.asUintN(64, list + BigInt(i * MulticallEntry.size));
      work += types.work;
      types.work = 0;
      if (i === CALLS_AT_ONCE || work > WORK_LIMIT) {
        domain.again = [at, BigInt(calls - i), 0n, 0n, 0n];
        return 0;
      }
      const { op, args } = MulticallEntry.read(domain.copyFromGuest(at, MulticallEntry.size));
      const passed = args.slice(0, 5) as unknown as HypercallArgs;
      tell(domain, op, passed);
      const result = call(domain, op, passed);
      if (op === IRET) return result;
      if (domain.ended) return 0;
      if (domain.again) {
        for (const [n, value] of domain.again.entries()) domain.setGuest64(at + ARGS + BigInt(8 * n), value);
        domain.again = [at, BigInt(calls - i), 0n, 0n, 0n];
        return 0;
      }
      domain.setGuest64(at + RESULT, BigInt(result ?? 0));
    }
    return 0;
  } catch (e) {
    if (e instanceof Refused) {
      domain.again = undefined;
      return -EFAULT;
    }
    throw e;
  } finally {
    domain.inMulticall = false;
  }
}
