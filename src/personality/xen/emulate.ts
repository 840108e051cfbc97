/** Privileged instructions: a PV kernel at CPL 3 raises #GP with them, and Xen carries out those it can.
 *
 * The instruction is read again at RIP. What is not in this file, or not allowed to the guest just now, stays the #GP
 * that it was. Control registers are mostly Xen's: a guest sees CR0 and CR4 as they are and changes TS and four bits.
 * Programs may use ports, CLI and STI as far as the virtual I/O privilege level goes; ports lead nowhere.
 * Follows: xen/arch/x86/pv/emul-priv-op.c, emul-inv-op.c.   Next: personality/xen/instruction.ts. */
import { CR0, CR4, VECTOR } from '../../x86/constants.ts';
import { guestCpuid } from './cpuid-policy.ts';
import { debugRegister, setDebugRegister } from './debug-registers.ts';
import type { Domain } from './domain.ts';
import { ENODEV, Refused } from './errno.ts';
import { codeByte, Instruction, type Outcome } from './instruction.ts';
import { readMsr, writeMsr } from './msrs.ts';
import { ioplAllows, port, portString } from './ports.ts';
import { CS, injectException, RAX, RCX, RDX } from './traps.ts';

/** The bits of CR4 that a guest chooses, and what it sees set besides. */
const CR4_GUEST = CR4.TSD | CR4.DE | CR4.FSGSBASE | CR4.OSXSAVE;
const CR4_SHOWN = CR4.PAE | CR4.MCE | CR4.OSFXSR | CR4.OSXMMEXCPT;

/** Carries out the instruction that raised #GP(0); false when it stays a #GP. True also when another exception has been
 * injected instead: `entered` then tells so. */
export function emulatePrivileged(domain: Domain): 'completed' | 'entered' | undefined {
  try {
    const instruction = new Instruction(domain);
    const outcome = execute(instruction);
    if (outcome === 'fault') return undefined;
    if (outcome === 'done') {
      domain.state.rflags &= ~0x1_0000; // RF
      return 'completed';
    }
    injectException(domain, outcome);
    return 'entered';
  } catch (e) {
    if (e instanceof Refused) return undefined;
    throw e;
  }
}

const FORCED_CPUID = [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2];

/** The forced-emulation prefix: UD2, "xen", CPUID. */
export function emulateForced(domain: Domain): boolean {
  const { state } = domain;
  try {
    const at = state.is64 ? state.rip : state.rip + state.base(CS);
    for (const [i, byte] of FORCED_CPUID.entries()) {
      if (codeByte(domain, at + BigInt(i)) !== byte) return false;
    }
  } catch (e) {
    if (e instanceof Refused) return false;
    throw e;
  }
  cpuidInto(domain);
  state.rip = BigInt.asUintN(64, state.rip + BigInt(FORCED_CPUID.length));
  return true;
}

function cpuidInto(domain: Domain): void {
  const { state } = domain;
  const { eax, ebx, ecx, edx } = guestCpuid(domain, Number(state.gpr(RAX, 4)), Number(state.gpr(RCX, 4)));
  const leaf = Number(state.gpr(RAX, 4));
  const values = [state.gpr(RCX, 4), ...[eax, ebx, ecx, edx].map((part) => BigInt(part >>> 0))];
  domain.world.told?.({ kind: 'cpuid', number: leaf, values });
  for (const [register, value] of [[0, eax], [3, ebx], [1, ecx], [2, edx]]) state.setGpr(register, BigInt(value), 4); // biome-ignore format: a list
}

function execute(i: Instruction): Outcome {
  const { domain } = i;
  const opcode = i.opcode();
  switch (opcode) {
    case 0xfa: // CLI and STI change nothing: events are masked in vcpu_info
    case 0xfb:
      if (!ioplAllows(domain)) return 'fault';
      i.finish();
      return 'done';
    case 0xe4:
    case 0xe5:
    case 0xe6:
    case 0xe7:
      return port(i, opcode, i.byte()); // biome-ignore format: one form
    case 0xec:
    case 0xed:
    case 0xee:
    case 0xef:
      return port(i, opcode, Number(domain.state.gpr(RDX, 2))); // biome-ignore format: one form
    case 0x6c:
    case 0x6d:
    case 0x6e:
    case 0x6f:
      return portString(i, opcode); // biome-ignore format: one form
    case 0x0f:
      return twoBytes(i, i.byte());
    default:
      return 'fault';
  }
}

function twoBytes(i: Instruction, opcode: number): Outcome {
  const { domain } = i;
  const { state } = domain;
  if (opcode === 0xa2) {
    cpuidInto(domain);
  } else if (!domain.kernelMode) {
    return 'fault';
  } else if (opcode === 0x06) {
    domain.setVirtualTs(false);
  } else if (opcode === 0x31) {
    readTsc(domain);
  } else if (opcode === 0x01) {
    if (i.byte() !== 0xf9 || !domain.cpu.model.features.has('RDTSCP')) return 'fault';
    readTsc(domain);
    state.setGpr(RCX, state.read().msrs.TSC_AUX, 4);
  } else if (opcode === 0x32) {
    const value = readMsr(domain, Number(state.gpr(RCX, 4)));
    if (value === undefined) return 'fault';
    domain.world.told?.({ kind: 'msr-read', number: Number(state.gpr(RCX, 4)), values: [value] });
    state.setGpr(RAX, value & 0xffff_ffffn);
    state.setGpr(RDX, value >> 32n);
  } else if (opcode === 0x30) {
    const value = state.gpr(RAX, 4) | (state.gpr(RDX, 4) << 32n);
    const number = Number(state.gpr(RCX, 4));
    if (!writeMsr(domain, number, value)) return 'fault';
    domain.world.told?.({ kind: 'msr-write', number, values: [value] });
  } else if (opcode >= 0x20 && opcode <= 0x23) {
    const outcome = controlOrDebug(i, opcode);
    if (outcome !== 'done') return outcome;
  } else if (opcode !== 0x09) {
    return 'fault'; // WBINVD (09) does nothing
  }
  i.finish();
  return 'done';
}

function readTsc({ state, clock }: Domain): void {
  const tsc = BigInt(Math.floor(clock.now));
  state.setGpr(RAX, tsc & 0xffff_ffffn);
  state.setGpr(RDX, tsc >> 32n);
}

function controlOrDebug(i: Instruction, opcode: number): Outcome {
  const { domain } = i;
  const { state } = domain;
  const { reg, rm } = i.modrm(); // always registers, whatever the mod bits say
  switch (opcode) {
    case 0x20: {
      const value = controlRegister(domain, reg);
      if (value === undefined) return 'fault';
      state.setGpr(rm, value);
      return 'done';
    }
    case 0x22:
      if (!setControlRegister(domain, reg, state.gpr(rm))) return 'fault';
      domain.world.told?.({ kind: 'cr-write', number: reg, values: [state.gpr(rm)] });
      return 'done';
    case 0x21: {
      const value = debugRegister(domain, reg);
      if (value === undefined) return { vector: VECTOR.UD };
      state.setGpr(rm, value);
      return 'done';
    }
    default: {
      const result = setDebugRegister(domain, reg, state.gpr(rm));
      return result === 0 ? 'done' : result === -ENODEV ? { vector: VECTOR.UD } : 'fault';
    }
  }
}

/** CR4 as the guest sees it. */
function shownCr4(domain: Domain): bigint {
  return BigInt(domain.guestCr4 | CR4_SHOWN);
}

function controlRegister(domain: Domain, register: number): bigint | undefined {
  switch (register) {
    case 0:
    case 2:
      return domain.state.get64(register === 0 ? 'CR0' : 'CR2');
    case 3:
      return BigInt(domain.kernelRoot) << 12n;
    case 4:
      return shownCr4(domain);
    default:
      return undefined;
  }
}

function setControlRegister(domain: Domain, register: number, value: bigint): boolean {
  const { state, cpu } = domain;
  switch (register) {
    case 0: {
      const ts = BigInt(CR0.TS);
      if (((value ^ state.get64('CR0')) & ~ts) !== 0n) return false;
      domain.setVirtualTs((value & ts) !== 0n);
      return true;
    }
    case 2:
      state.set64('CR2', value);
      return true;
    case 3:
      return domain.memory.mmuext.newKernelRoot(Number((value >> 12n) & 0xff_ffff_ffffn)) === 0;
    case 4: {
      const has = (name: string) => cpu.model.features.has(name);
      let choice = Number(BigInt.asUintN(32, value)) & CR4_GUEST;
      if (!has('FSGSBASE')) choice &= ~CR4.FSGSBASE;
      if (!has('XSAVE')) choice &= ~CR4.OSXSAVE;
      domain.guestCr4 = choice;
      state.set64('CR4', (state.get64('CR4') & ~BigInt(CR4_GUEST)) | BigInt(choice));
      cpu.modeChanged();
      return true;
    }
    default:
      return false;
  }
}
