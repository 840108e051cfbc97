/** Bounce frames: how Xen sends a guest to one of its handlers.
 *
 * A 64-bit PV kernel runs at CPL 3 like its programs, so no gate of the CPU's could lead into it. Xen takes every
 * exception itself and makes the frame that a gate would have made, with two words below it, RCX and R11, because it
 * goes back by SYSRET and that destroys them. The frame lies on the kernel's current stack, or on the one that
 * stack_switch gave when the guest was in user mode; the CS word says in its upper half whether events were masked.
 * Follows: xen/arch/x86/x86_64/entry.S (create_bounce_frame), xen/arch/x86/pv/traps.c.
 * May not: decide that an instruction can be emulated.   Next: personality/xen/iret.ts. */
import { hex } from '../../base/numbers.ts';
import { XEN_SELECTOR } from '../../layout/xen/addresses.ts';
import { VcpuInfo } from '../../layout/xen/shared-info.ts';
import { pushesErrorCode, RFLAGS, VECTOR, VECTOR_NAMES } from '../../x86/constants.ts';
import { flatCode64, flatData } from '../../x86/vcpu-state.ts';
import { isLinearFault, type Trap } from '../personality.ts';
import { type Domain, isGuestRange } from './domain.ts';
import { Refused } from './errno.ts';
import { ASSIST } from './guest-domain.ts';

const CR2 = VcpuInfo.offsetOf('arch.cr2');
export const RAX = 0, RCX = 1, RDX = 2, RSP = 4, RSI = 6, RDI = 7, R8 = 8, R10 = 10, R11 = 11; // biome-ignore format: a list
export const ES = 0, CS = 1, SS = 2, DS = 3, FS = 4, GS = 5; // biome-ignore format: a list

/** Cleared for every handler; IF stays set, the upcall mask has its place. */
const CLEARED = RFLAGS.AC | RFLAGS.VM | RFLAGS.RF | RFLAGS.NT | RFLAGS.TF;

type Bounce = {
  address: bigint;
  masksEvents: boolean;
  /** What the guest did, for the sentence when there is no way into the handler. */
  because: string;
  errorCode?: number;
};

/** Sends the guest to a handler; state.rip and the other registers are what the frame is to show. */
export function bounce(domain: Domain, { address, masksEvents, because, errorCode }: Bounce): void {
  const { state, events } = domain;
  const fromKernel = domain.kernelMode;
  const rsp = state.gpr(RSP);
  const top = (fromKernel ? rsp : domain.kernelSp) & ~0xfn;
  const mask = BigInt(events.upcallMask);
  const selector = BigInt(state.selector(CS));
  const cs = (fromKernel ? selector & ~3n : selector) | (mask << 32n);
  const hidden = RFLAGS.IF | RFLAGS.IOPL;
  const iopl = domain.hasAssist(ASSIST.ARCHITECTURAL_IOPL) ? domain.iopl << 12 : 0;
  const rflags = (state.rflags & ~hidden) | (mask === 0n ? RFLAGS.IF : 0) | iopl;
  const frame = [
    state.gpr(RCX),
    state.gpr(R11),
    ...(errorCode === undefined ? [] : [BigInt(errorCode >>> 0)]),
    state.rip,
    cs,
    BigInt(rflags >>> 0),
    rsp,
    BigInt(state.selector(SS)),
  ];
  const base = BigInt.asUintN(64, top - BigInt(8 * frame.length));

  if (!fromKernel) domain.toggleMode();
  if (!isGuestRange(base, 8 * frame.length)) {
    domain.crash(`${because}, and its kernel stack is at ${hex(top)}, where no guest has one`);
    return;
  }
  const bytes = new Uint8Array(8 * frame.length);
  const view = new DataView(bytes.buffer);
  frame.forEach((word, i) => {
    view.setBigUint64(8 * i, BigInt.asUintN(64, word), true);
  });
  try {
    domain.copyToGuest(base, bytes);
  } catch (e) {
    if (!(e instanceof Refused)) throw e;
    domain.crash(`${because}, and its kernel stack at ${hex(top)} cannot be written`);
    return;
  }
  if (address === 0n) {
    domain.crash(`${because} without a handler for it`);
    return;
  }

  if (masksEvents) events.upcallMask = 1;
  state.rip = address;
  state.setGpr(RSP, base);
  state.rflags = (state.rflags & ~CLEARED) | RFLAGS.IF;
  enterFlat(domain);
  state.setGpr(RCX, address);
  state.setGpr(R11, BigInt(state.rflags >>> 0));
}

/** CS and SS as SYSRET leaves them. */
export function enterFlat(domain: Domain): void {
  const { state, cpu } = domain;
  state.setSegment(CS, flatCode64(XEN_SELECTOR.CS, 3));
  state.setSegment(SS, flatData(XEN_SELECTOR.SS, 3));
  cpu.modeChanged();
}

/** An exception of the guest's own, state.rip being what its handler is to see. */
export function injectException(domain: Domain, { vector, errorCode, cr2, dr6 }: Trap): void {
  const { state } = domain;
  const entry = domain.trapTable[vector];
  let code = errorCode ?? 0;
  if (vector === VECTOR.PF) {
    const address = cr2 ?? 0n;
    state.set64('CR2', address);
    domain.setMachine64(domain.events.vcpuInfo + CR2, address);
    code = domain.kernelMode ? code & ~4 : code | 4; // the hardware saw CPL 3 in both
  }
  if (vector === VECTOR.DB && dr6 !== undefined) {
    const old = Number(state.dr(6)) & ~(dr6 & 0xf ? 0xf : 0);
    state.setDr(6, BigInt((old | dr6) >>> 0));
  }
  if (vector === VECTOR.NM) domain.setVirtualTs(false);
  const pushed = pushesErrorCode(vector) ? { errorCode: code } : {};
  bounce(domain, { ...entry, ...pushed, because: describe(domain, vector, code, cr2) });
}

/** INT n that the guest's own table lets through: no error code. */
export function injectSoftware(domain: Domain, vector: number): void {
  const because = `it executed INT ${hex(vector)} behind ${hex(domain.state.rip)}`;
  bounce(domain, { ...domain.trapTable[vector], because });
}

/** The event callback: always with events masked. */
export function injectUpcall(domain: Domain): void {
  domain.world.told?.({ kind: 'interrupt', number: 0, name: 'event upcall', values: [] });
  bounce(domain, { address: domain.eventCallback.address, masksEvents: true, because: 'it let events come in' });
}

function describe(domain: Domain, vector: number, code: number, cr2: bigint | undefined): string {
  const name = VECTOR_NAMES[vector] ?? `exception ${vector}`;
  const where = vector === VECTOR.PF ? ` on ${hex(cr2 ?? 0n)}` : '';
  const error = pushesErrorCode(vector) ? ` (error code ${hex(code)})` : '';
  return `it raised ${name}${where}${error} at rip ${hex(domain.state.rip)}`;
}

/** INT n, INT3, INTO and INT1. Xen's own gates have DPL 0, so a plain INT n is a #GP that names the gate; Xen then asks
 * the guest's table whether the vector may be called. INT3 and INTO have gates of their own, and so has INT 0x80. */
export function softwareInterrupt(domain: Domain, vector: number, nextRip: bigint): 'entered' | 'completed' {
  const { state } = domain;
  const rip = state.rip;
  const entry = domain.trapTable[vector];
  const isTrap = vector === VECTOR.BP || vector === VECTOR.OF || (vector === VECTOR.DB && isInt1(domain, nextRip));
  if (isTrap) {
    state.rip = nextRip;
    injectException(domain, { vector });
    return 'completed';
  }
  if (vector === 0x80) {
    if (entry.address === 0n) {
      injectException(domain, { vector: VECTOR.GP, errorCode: (vector << 3) | 2 });
      return 'entered';
    }
  } else if (!(domain.kernelMode ? entry.dpl >= 1 : entry.dpl === 3)) {
    injectException(domain, { vector: VECTOR.GP, errorCode: (vector << 3) | 2 });
    return 'entered';
  }
  state.rip = vector === 0x80 ? nextRip : BigInt.asUintN(64, rip + 2n); // Xen does not look for prefixes
  injectSoftware(domain, vector);
  return 'completed';
}

/** The one-byte form (0xf1) raises #DB without asking anybody. */
function isInt1(domain: Domain, nextRip: bigint): boolean {
  try {
    return domain.cpu.readLinear(BigInt.asUintN(64, nextRip + domain.state.base(CS) - 1n), 1, true) === 0xf1n;
  } catch (e) {
    if (isLinearFault(e)) return false;
    throw e;
  }
}
