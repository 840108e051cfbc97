/** The iret hypercall: back from a handler to what the guest was doing, in its kernel or in a program.
 *
 * The hardware's IRET cannot tell a guest's kernel from its programs, nor write the upcall mask; so the kernel leaves
 * its frame on the stack and asks. RPL 3 in the frame's CS means user mode, and that is why bounce frames show the
 * kernel's CS with RPL 0.
 * Follows: xen/arch/x86/pv/iret.c; xen/include/public/arch-x86/xen-x86_64.h.   Next: personality/xen/selectors.ts. */
import { hex } from '../../base/numbers.ts';
import { struct, u64 } from '../../layout/struct.ts';
import { XEN_SELECTOR } from '../../layout/xen/addresses.ts';
import { IOPL_SHIFT, RFLAGS, SEGMENT, VECTOR } from '../../x86/constants.ts';
import { dplOf, selectorError } from '../../x86/descriptor.ts';
import type { Segment } from '../../x86/vcpu-state.ts';
import type { Trap } from '../personality.ts';
import type { Domain } from './domain.ts';
import { Refused } from './errno.ts';
import { ASSIST } from './guest-domain.ts';
import type { Hypercall } from './hypercall-row.ts';
import { readSegment } from './selectors.ts';
import { CS, enterFlat, injectException, R11, RCX, RSP, SS } from './traps.ts';

/** X86_EFLAGS_ALL: every bit that EFLAGS has. */
const ALL_FLAGS = 0x3f_7fd5;
/** In the frame's flags word: RCX and R11 need not be restored. */
const VGCF_IN_SYSCALL = 0x100n;

/** What the guest has on its stack. */
export const IretContext = struct('iret_context', { from: 'xen/include/public/arch-x86/xen-x86_64.h', size: 72 }, {
  rax: u64(0), r11: u64(8), rcx: u64(16), flags: u64(24, 'VGCF_*'),
  rip: u64(32), cs: u64(40), rflags: u64(48), rsp: u64(56), ss: u64(64),
}); // biome-ignore format: a table

export const IRET_CALLS: readonly Hypercall[] = [{ number: 23, name: 'iret', call: iret }];

function iret(domain: Domain): bigint | undefined {
  const { state } = domain;
  const at = state.gpr(RSP);
  let frame: ReturnType<typeof IretContext.read>;
  try {
    frame = IretContext.read(domain.copyFromGuest(at, IretContext.size));
  } catch (e) {
    if (!(e instanceof Refused)) throw e;
    domain.crash(`it asked for iret with a stack at ${hex(at)} that cannot be read`);
    return undefined;
  }
  if ((frame.cs & 3n) === 3n) {
    if (domain.userRoot === 0) {
      domain.crash('its iret goes to user mode, and it has given no page tables for that');
      return undefined;
    }
    domain.toggleMode();
  }
  const supplied = Number(BigInt.asUintN(32, frame.rflags));
  if (domain.hasAssist(ASSIST.ARCHITECTURAL_IOPL)) domain.iopl = (supplied >> IOPL_SHIFT) & 3;
  const rflags = (supplied & ALL_FLAGS & ~(RFLAGS.IOPL | RFLAGS.VM)) | RFLAGS.IF | RFLAGS.ONE;
  state.rip = frame.rip;
  state.rflags = rflags;
  state.setGpr(RSP, frame.rsp);
  domain.events.upcallMask = (supplied & RFLAGS.IF) === 0 ? 1 : 0;
  if ((frame.flags & VGCF_IN_SYSCALL) !== 0n) bySysret(domain, frame.cs);
  else {
    state.setGpr(R11, frame.r11);
    state.setGpr(RCX, frame.rcx);
    loadSelectors(domain, Number(frame.cs & 0xffffn) | 3, Number(frame.ss & 0xffffn) | 3);
  }
  return frame.rax;
}

/** SYSRET loads CS and SS with constants, RCX with RIP and R11 with RFLAGS. */
function bySysret(domain: Domain, cs: bigint): void {
  const { state } = domain;
  if ((Number(cs & 0xffffn) | 3) === XEN_SELECTOR.USER_CS32) {
    loadSelectors(domain, XEN_SELECTOR.USER_CS32, XEN_SELECTOR.SS);
  } else enterFlat(domain);
  state.setGpr(RCX, state.rip);
  state.setGpr(R11, BigInt(state.rflags >>> 0));
}

/** As the IRET instruction back to CPL 3 loads them. Xen executes it for the guest; where it faults, the guest gets the
 * exception, with a frame that shows where it wanted to be. */
function loadSelectors(domain: Domain, cs: number, ss: number): void {
  if (cs === XEN_SELECTOR.CS && ss === XEN_SELECTOR.SS) {
    enterFlat(domain);
    return;
  }
  const { state, cpu } = domain;
  const code = readSegment(domain, cs);
  const stack = readSegment(domain, ss);
  const fault = codeFault(cs, code) ?? stackFault(ss, stack);
  if (fault || !code || !stack) {
    state.setSegment(CS, { ...state.segment(CS), selector: cs });
    state.setSegment(SS, { ...state.segment(SS), selector: ss });
    injectException(domain, fault ?? { vector: VECTOR.GP, errorCode: 0 });
    return;
  }
  state.setSegment(CS, code);
  state.setSegment(SS, stack);
  cpu.modeChanged();
}

const { S, P, CODE, CONFORMING, WRITABLE } = SEGMENT;

/** SDM Vol. 2, IRET, return to an outer privilege level of 3. */
function codeFault(selector: number, segment: Segment | undefined): Trap | undefined {
  const isCode = segment !== undefined && (segment.attributes & (S | CODE)) === (S | CODE);
  const fits = isCode && ((segment.attributes & CONFORMING) !== 0 || dplOf(segment.attributes) === 3);
  if (!fits) return { vector: VECTOR.GP, errorCode: selectorError(selector) };
  return (segment.attributes & P) === 0 ? { vector: VECTOR.NP, errorCode: selectorError(selector) } : undefined;
}

function stackFault(selector: number, segment: Segment | undefined): Trap | undefined {
  const wanted = S | WRITABLE;
  const isData = segment !== undefined && (segment.attributes & (wanted | CODE)) === wanted;
  if (!isData || dplOf(segment.attributes) !== 3) return { vector: VECTOR.GP, errorCode: selectorError(selector) };
  return (segment.attributes & P) === 0 ? { vector: VECTOR.SS, errorCode: selectorError(selector) } : undefined;
}
