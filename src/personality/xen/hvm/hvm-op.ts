/** hvm_op: the numbers that the toolstack has left for the guest, and how the guest wants to be interrupted.
 *
 * Follows: xen/arch/x86/hvm/hvm.c (hvm_allow_get_param, hvm_allow_set_param, hvmop_set_evtchn_upcall_vector), of 4.17;
 * xen/arch/x86/hvm/irq.c (hvm_set_callback_via).   Next: machine/machine.ts. */
import { CALLBACK_VIA, HVM_PARAM, HVM_PARAMS, XenHvmEvtchnUpcallVector, XenHvmParam } from '../../../layout/xen/hvm.ts';
import { EEXIST, EINVAL, ENOENT, ENOSYS, EPERM, ESRCH } from '../errno.ts';
import { isSelf } from '../guest-domain.ts';
import { int32 } from '../guest-values.ts';
import type { HypercallArgs } from '../hypercall-row.ts';
import type { HvmDomain } from './domain.ts';

/** Params that a guest may set, once where `once` says so; those and some more it may read. */
const SETTABLE: ReadonlyMap<number, 'once' | 'always'> = new Map([
  [HVM_PARAM.CALLBACK_IRQ, 'always'],
  [HVM_PARAM.VM86_TSS, 'always'],
  [HVM_PARAM.VM86_TSS_SIZED, 'always'],
  [HVM_PARAM.ACPI_IOPORTS_LOCATION, 'always'],
  [HVM_PARAM.VM_GENERATION_ID_ADDR, 'always'],
  [HVM_PARAM.X87_FIP_WIDTH, 'always'],
  [HVM_PARAM.STORE_EVTCHN, 'once'],
  [HVM_PARAM.CONSOLE_EVTCHN, 'once'],
]);
const READABLE: ReadonlySet<number> = new Set([...SETTABLE.keys(), HVM_PARAM.STORE_PFN, HVM_PARAM.CONSOLE_PFN]);
/** Vectors below are exceptions. */
const FIRST_VECTOR = 0x10;

export function hvmOp(domain: HvmDomain, [cmd, arg]: HypercallArgs): number {
  switch (int32(cmd)) {
    case 0:
      return setParam(domain, arg);
    case 1:
      return getParam(domain, arg);
    case 5: // flush_tlbs
      domain.cpu.flushTlb();
      return 0;
    case 9: // pagetable_dying is no longer there in 4.17
      return -ENOSYS;
    case 23:
      return setUpcallVector(domain, arg);
    default:
      domain.notBuilt(`hvm_op ${int32(cmd)}`);
      return -ENOSYS;
  }
}

function getParam(domain: HvmDomain, arg: bigint): number {
  const { domid, index } = XenHvmParam.read(domain.copyFromGuest(arg, XenHvmParam.size));
  if (index >= HVM_PARAMS) return -EINVAL;
  if (!isSelf(domid)) return -ESRCH;
  if (!READABLE.has(index)) return -EPERM;
  domain.setGuest64(arg + BigInt(XenHvmParam.offsetOf('value')), domain.params.get(index) ?? 0n);
  return 0;
}

function setParam(domain: HvmDomain, arg: bigint): number {
  const { domid, index, value } = XenHvmParam.read(domain.copyFromGuest(arg, XenHvmParam.size));
  if (index >= HVM_PARAMS) return -EINVAL;
  if (!isSelf(domid)) return -ESRCH;
  const may = SETTABLE.get(index);
  if (may === undefined) return -EPERM;
  const old = domain.params.get(index) ?? 0n;
  if (may === 'once' && old !== 0n && old !== value) return -EEXIST;
  if (index === HVM_PARAM.CALLBACK_IRQ) setCallback(domain, value);
  domain.params.set(index, value);
  return 0;
}

/** Bits 63-56 say how; a value of 0 is no callback at all. */
function setCallback(domain: HvmDomain, value: bigint): void {
  domain.latchWidth();
  const how = Number(value >> 56n);
  domain.callbackVector = how === CALLBACK_VIA.VECTOR ? Number(value & 0xffn) : undefined;
  if (how === CALLBACK_VIA.VECTOR || value === 0n) return;
  const wires: Record<number, string> = { [CALLBACK_VIA.GSI]: 'a wire', [CALLBACK_VIA.PCI_INTX]: 'a PCI interrupt' };
  domain.notBuilt(`event callback by ${wires[how] ?? `way ${how}`}`);
}

function setUpcallVector(domain: HvmDomain, arg: bigint): number {
  const { vcpu, vector } = XenHvmEvtchnUpcallVector.read(domain.copyFromGuest(arg, XenHvmEvtchnUpcallVector.size));
  if (vector < FIRST_VECTOR) return -EINVAL;
  if (vcpu !== 0) return -ENOENT;
  domain.upcallVector = vector;
  domain.upcallWaits = domain.events.isUpcallPending;
  return 0;
}
