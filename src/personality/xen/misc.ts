/** The calls that set a vCPU up: trap table, callbacks, kernel stack, segment bases, debug registers, assists.
 *
 * Follows: xen/arch/x86/pv/{callback,misc-hypercalls}.c, traps.c; xen/include/public/{xen,callback}.h.
 * Next: personality/xen/debug-registers.ts. */
import {
  CALLBACK_MASKS_EVENTS,
  CALLBACK_TYPE,
  CallbackRegister,
  TRAP_DPL,
  TRAP_MASKS_EVENTS,
  TrapInfo,
} from '../../layout/xen/memory-arguments.ts';
import { VECTOR } from '../../x86/constants.ts';
import { nullSegment } from '../../x86/vcpu-state.ts';
import { debugRegister, setDebugRegister } from './debug-registers.ts';
import { type Domain, isCanonical, NO_TRAP } from './domain.ts';
import { EINVAL, ENODEV, ENOSYS } from './errno.ts';
import { ASSIST } from './guest-domain.ts';
import { int32 } from './guest-values.ts';
import type { Hypercall, HypercallArgs } from './hypercall-row.ts';
import { readSegment } from './selectors.ts';
import { FS, GS } from './traps.ts';

/** Entries that one set_trap_table takes before the guest's other affairs get their turn. */
const TRAPS_AT_ONCE = 1024;
const VALID_ASSISTS = new Set<number>(Object.values(ASSIST));
const SEGMENT_BASE = { FS: 0, GS_USER: 1, GS_KERNEL: 2, GS_USER_SELECTOR: 3 } as const;

export const VCPU_SETUP_CALLS: readonly Hypercall[] = [
  { number: 0, name: 'set_trap_table', call: setTrapTable },
  {
    number: 3,
    name: 'stack_switch',
    call(domain, [_, sp]) {
      domain.kernelSp = sp; // with it goes Xen's own SS in 64 bits
      return 0;
    },
  },
  {
    number: 4,
    name: 'set_callbacks',
    call(domain, [event, failsafe, syscall]) {
      registerCallback(domain, CALLBACK_TYPE.event, event, false);
      registerCallback(domain, CALLBACK_TYPE.failsafe, failsafe, false);
      registerCallback(domain, CALLBACK_TYPE.syscall, syscall, false);
      return 0;
    },
  },
  {
    number: 5,
    name: 'fpu_taskswitch',
    call(domain, [set]) {
      domain.setVirtualTs(int32(set) !== 0);
      return 0;
    },
  },
  { number: 8, name: 'set_debugreg', call: (domain, [register, value]) => setDebugRegister(domain, int32(register), value) },
  { number: 9, name: 'get_debugreg', call: (domain, [register]) => debugRegister(domain, int32(register)) ?? -ENODEV },
  { number: 21, name: 'vm_assist', call: vmAssist },
  { number: 25, name: 'set_segment_base', call: setSegmentBase },
  {
    number: 28,
    name: 'nmi_op',
    call(domain, [cmd, arg]) {
      if (int32(cmd) > 1) return -ENOSYS;
      // xennmi_callback: the address is its first word, an unused one its second.
      return registerCallback(domain, CALLBACK_TYPE.nmi, int32(cmd) === 0 ? domain.guest64(arg) : 0n, true);
    },
  },
  { number: 30, name: 'callback_op', call: callbackOp },
]; // biome-ignore format: rows

function setTrapTable(domain: Domain, [list]: HypercallArgs): number {
  if (list === 0n) {
    domain.trapTable.fill(NO_TRAP);
    return 0;
  }
  for (let i = 0; i < TRAPS_AT_ONCE; i++) {
    const at = BigInt.asUintN(64, list + BigInt(i * TrapInfo.size));
    const { vector, flags, address } = TrapInfo.read(domain.copyFromGuest(at, TrapInfo.size));
    if (address === 0n) return 0;
    if (!isCanonical(address)) return -EINVAL;
    domain.trapTable[vector] = {
      address,
      dpl: flags & TRAP_DPL,
      masksEvents: (flags & TRAP_MASKS_EVENTS) !== 0,
    };
  }
  domain.again = [BigInt.asUintN(64, list + BigInt(TRAPS_AT_ONCE * TrapInfo.size)), 0n, 0n, 0n, 0n];
  return 0;
}

function callbackOp(domain: Domain, [cmd, arg]: HypercallArgs): number {
  switch (int32(cmd)) {
    case 0: {
      const { type, flags, address } = CallbackRegister.read(domain.copyFromGuest(arg, CallbackRegister.size));
      return registerCallback(domain, type, address, (flags & CALLBACK_MASKS_EVENTS) !== 0);
    }
    case 1: {
      const type = domain.guest16(arg);
      if (type === CALLBACK_TYPE.nmi) {
        domain.trapTable[VECTOR.NMI] = NO_TRAP;
        return 0;
      }
      return Object.values<number>(CALLBACK_TYPE).includes(type) ? -EINVAL : -ENOSYS;
    }
    default:
      return -ENOSYS;
  }
}

function registerCallback(domain: Domain, type: number, address: bigint, masksEvents: boolean): number {
  if (!isCanonical(address)) return -EINVAL;
  const callback = { address, masksEvents };
  switch (type) {
    case CALLBACK_TYPE.event:
      domain.eventCallback = { address, masksEvents: true };
      return 0;
    case CALLBACK_TYPE.failsafe: // for selectors that a switch between domains cannot restore: there is one domain
    case CALLBACK_TYPE.sysenter: // the CPU has no SYSENTER in long mode, like all of its maker
      return 0;
    case CALLBACK_TYPE.syscall:
      domain.syscallCallback = callback;
      return 0;
    case CALLBACK_TYPE.syscall32:
      domain.syscall32Callback = callback;
      return 0;
    case CALLBACK_TYPE.nmi:
      domain.trapTable[VECTOR.NMI] = { address, dpl: 0, masksEvents: true };
      return 0;
    default:
      return -ENOSYS;
  }
}

function vmAssist(domain: Domain, [cmd, type]: HypercallArgs): number {
  const number = int32(type);
  if (!VALID_ASSISTS.has(number)) return -EINVAL;
  const bit = 1n << BigInt(number);
  switch (int32(cmd)) {
    case 0:
      domain.assists |= bit;
      return 0;
    case 1:
      domain.assists &= ~bit;
      return 0;
    default:
      return -ENOSYS;
  }
}

/** In kernel mode the CPU's GS base is the kernel's, and the program's waits in KERNEL_GS_BASE. */
function setSegmentBase(domain: Domain, [which, base]: HypercallArgs): number {
  const { state } = domain;
  const kind = int32(which);
  if (kind === SEGMENT_BASE.GS_USER_SELECTOR) {
    loadUserGs(domain, Number(base & 0xffffn));
    return 0;
  }
  if (kind > SEGMENT_BASE.GS_USER_SELECTOR || !isCanonical(base)) return -EINVAL;
  if (kind === SEGMENT_BASE.FS) state.setBase(FS, base);
  else if (kind === SEGMENT_BASE.GS_KERNEL) state.setBase(GS, base);
  else state.set64('KERNEL_GS_BASE', base);
  return 0;
}

/** A selector that cannot be loaded becomes the null one, and nobody is told. */
function loadUserGs(domain: Domain, wanted: number): void {
  const { state } = domain;
  const selector = wanted > 3 ? wanted | 3 : wanted;
  const found = readSegment(domain, selector);
  const isData = found && (found.attributes & 0x90) === 0x90 && (found.attributes & 0xa) !== 8; // no execute-only code
  const loaded = isData ? found : nullSegment(found ? 0 : selector & 3);
  state.set64('KERNEL_GS_BASE', loaded.base);
  state.setSegment(GS, { ...loaded, base: state.base(GS) });
}
