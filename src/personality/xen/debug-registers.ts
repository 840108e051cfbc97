/** Debug registers: the guest has the CPU's, as far as they cannot stop Xen itself.
 *
 * Follows: xen/arch/x86/pv/misc-hypercalls.c (set_debugreg), x86_emulate (read_dr).
 * Next: personality/xen/version.ts. */
import { CR4, DR6_FIXED, DR7, DR7_FIXED } from '../../x86/constants.ts';
import { type Domain, isGuestRange } from './domain.ts';
import { EINVAL, ENODEV, EPERM } from './errno.ts';

/** Bits of DR6 and DR7 that exist. */
const DR6_WRITABLE = 0xe00f;
const DR7_WRITABLE = 0xffff_23ff;
const IO_BREAKPOINT = 2;

/** DR4 and DR5 are DR6 and DR7 unless CR4.DE is set. */
function existing(domain: Domain, number: number): number | undefined {
  if (number >= 0 && number <= 3) return number;
  if (number === 6 || number === 7) return number;
  if ((number === 4 || number === 5) && (domain.guestCr4 & CR4.DE) === 0) return number + 2;
  return undefined;
}

export function debugRegister(domain: Domain, number: number): bigint | undefined {
  const register = existing(domain, number);
  return register === undefined ? undefined : domain.state.dr(register);
}

/** 0, or -errno: -ENODEV where the instruction would raise #UD. */
export function setDebugRegister(domain: Domain, number: number, value: bigint): number {
  const { state, cpu } = domain;
  const register = existing(domain, number);
  if (register === undefined) return -ENODEV;
  if (register <= 3) {
    if (!isGuestRange(value, 1)) return -EPERM;
    state.setDr(register, value);
    return 0;
  }
  if (value >> 32n !== 0n) return -EINVAL;
  const bits = Number(value);
  if (register === 6) {
    state.setDr(6, BigInt(((bits & DR6_WRITABLE) | DR6_FIXED) >>> 0));
    return 0;
  }
  if ((bits & DR7.GD) !== 0) return -EPERM;
  let kept = ((bits & DR7_WRITABLE) | DR7_FIXED) >>> 0;
  for (let i = 0; i < 4; i++) {
    const enabled = ((bits >>> (2 * i)) & 3) !== 0;
    if (((bits >>> (16 + 4 * i)) & 3) !== IO_BREAKPOINT || (bits & 0xff) === 0) continue;
    if ((domain.guestCr4 & CR4.DE) === 0) return -EPERM;
    if (enabled) domain.notBuilt('debug registers: breakpoints on ports');
    kept = (kept & ~(3 << (2 * i))) >>> 0;
  }
  state.setDr(7, BigInt(kept));
  cpu.modeChanged();
  return 0;
}
