/** vcpu_op and set_timer_op: the one virtual CPU, its timers, and where its accounts are kept.
 *
 * Follows: xen/common/domain.c (do_vcpu_op), xen/arch/x86/domain.c; xen/include/public/vcpu.h.
 * Next: personality/xen/grant.ts. */
import {
  VcpuRegisterRunstateMemoryArea,
  VcpuRegisterVcpuInfo,
  VcpuSetPeriodicTimer,
  VcpuSetSingleshotTimer,
  VcpuSetSingleshotTimer32,
} from '../../layout/xen/event-arguments.ts';
import { SharedInfo, VcpuInfo } from '../../layout/xen/shared-info.ts';
import { EFAULT, EINVAL, ENOENT, ENOSYS } from './errno.ts';
import type { GuestDomain } from './guest-domain.ts';
import { clamped, int32 } from './guest-values.ts';
import type { Hypercall } from './hypercall-row.ts';

const MILLISECOND = 1_000_000;
/** STIME_DELTA_MAX. */
const MAX_PERIOD = (1n << 53n) - 1n;
/** Timeouts further ahead are a kernel's wrapped arithmetic (about 13 days). */
const FAR = 2 ** 50;
const ETIME = 62;
const SSHOTTMR_FUTURE = 1;

export const VCPU_CALLS: readonly Hypercall<GuestDomain>[] = [
  { number: 24, name: 'vcpu_op', call: (domain, [cmd, vcpu, arg]) => vcpuOp(domain, int32(cmd), int32(vcpu), arg) },
  {
    number: 15,
    name: 'set_timer_op',
    // A 32-bit guest passes the two halves.
    call: (domain, [timeout, high]) => setTimer(domain, domain.caller32 ? (high << 32n) | timeout : timeout),
  },
];

function vcpuOp(domain: GuestDomain, command: number, vcpu: number, arg: bigint): number {
  if (vcpu !== 0) return -ENOENT;
  const { clock } = domain;
  switch (command) {
    case 0: // initialise: it is running
      return -EINVAL;
    case 1: // up
      return 0;
    case 2: // down: the last one takes the domain with it
      domain.ended = true;
      domain.world.end({ kind: 'shutdown', how: 'poweroff', words: 'its only vCPU went down' });
      return 0;
    case 3:
      return 1;
    case 4:
      domain.copyToGuest(arg, clock.runstate(true));
      return 0;
    case 5: {
      const area = VcpuRegisterRunstateMemoryArea.read(domain.copyFromGuest(arg, VcpuRegisterRunstateMemoryArea.size));
      const at = domain.caller32 ? BigInt.asUintN(32, area['addr.p']) : area['addr.p'];
      if (!domain.isGuestRange(at, 0x30)) return -EFAULT;
      clock.registerRunstate(at);
      return 0;
    }
    case 6: {
      const { period_ns } = VcpuSetPeriodicTimer.read(domain.copyFromGuest(arg, VcpuSetPeriodicTimer.size));
      if (period_ns < MILLISECOND || period_ns > MAX_PERIOD) return -EINVAL;
      clock.setPeriod(Number(period_ns));
      return 0;
    }
    case 7:
      clock.setPeriod(undefined);
      return 0;
    case 8: {
      const form = domain.caller32 ? VcpuSetSingleshotTimer32 : VcpuSetSingleshotTimer;
      const { timeout_abs_ns, flags } = form.read(domain.copyFromGuest(arg, form.size));
      const at = clamped(timeout_abs_ns);
      if ((flags & SSHOTTMR_FUTURE) !== 0 && at < clock.now) return -ETIME;
      clock.setOneShot(at);
      return 0;
    }
    case 9:
      clock.setOneShot(undefined);
      return 0;
    case 10:
      return registerVcpuInfo(domain, arg);
    case 11:
      domain.notBuilt('vcpu_op send_nmi');
      return -ENOSYS;
    case 12: // get_physid: for CPUs that are pinned
      return -EINVAL;
    default: {
      const names: Record<number, string> = { 13: 'time area', 14: 'runstate by address', 15: 'time by address' };
      domain.notBuilt(`vcpu_op ${names[command] ?? command}`);
      return -ENOSYS;
    }
  }
}

function setTimer({ clock }: GuestDomain, timeout: bigint): number {
  const at = clamped(timeout);
  if (at === 0) clock.setOneShot(undefined);
  else if (at < 0 || at - clock.now >= FAR) clock.setOneShot(clock.now + 100 * MILLISECOND);
  else clock.setOneShot(at);
  return 0;
}

/** Moves vcpu_info into memory of the guest's, once. Events that came while it moved may have gone unseen, so the guest
 * is told that all of them may be pending. */
function registerVcpuInfo(domain: GuestDomain, arg: bigint): number {
  const { events } = domain;
  const { mfn, offset } = VcpuRegisterVcpuInfo.read(domain.copyFromGuest(arg, VcpuRegisterVcpuInfo.size));
  const initial = events.sharedInfo + SharedInfo.offsetOf('vcpu_info');
  if (events.vcpuInfo !== initial || offset + VcpuInfo.size > 4096) return -EINVAL;
  const page = domain.lendFrame(mfn);
  if (page < 0) return -EINVAL;
  const at = page + offset;
  domain.setMachineBytes(at, domain.machineBytes(events.vcpuInfo, VcpuInfo.size).slice());
  events.vcpuInfo = at;
  events.markAll();
  return 0;
}
