/** Privileged instructions: a PV kernel at CPL 3 raises #GP with them, and Xen carries out those it can.
 *
 * The instruction is read again at RIP. What is not in this file, or not allowed to the guest just now, stays the #GP
 * that it was. Control registers are mostly Xen's: a guest sees CR0 and CR4 as they are and changes TS and four bits.
 * Programs may use ports, CLI and STI as far as the virtual I/O privilege level goes; ports lead nowhere.
 * Follows: xen/arch/x86/pv/emul-priv-op.c, emul-inv-op.c.   Next: personality/xen/cpuid-policy.ts. */
import { CR0, CR4, VECTOR } from '../../x86/constants.ts';
import { isLinearFault } from '../personality.ts';
import { guestCpuid } from './cpuid-policy.ts';
import { debugRegister, setDebugRegister } from './debug-registers.ts';
import { ASSIST, type Domain } from './domain.ts';
import { EFAULT, ENODEV, Refused } from './errno.ts';
import { readMsr, writeMsr } from './msrs.ts';
import { CS, injectException, RAX, RCX, RDI, RDX, RSI } from './traps.ts';

/** The bits of CR4 that a guest chooses, and what it sees set besides. */
const CR4_GUEST = CR4.TSD | CR4.DE | CR4.FSGSBASE | CR4.OSXSAVE;
export const CR4_SHOWN = CR4.PAE | CR4.MCE | CR4.OSFXSR | CR4.OSXMMEXCPT;

/** What an emulated instruction leads to: it is done, it stays the fault it was, or it raises something else. */
type Outcome = 'done' | 'fault' | { vector: number };

const PREFIX_BYTES = new Set([0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65]);

/** The instruction at RIP, byte by byte. */
class Instruction {
  readonly domain: Domain;
  #at: bigint;
  length = 0;
  rex = 0;
  operand16 = false;
  rep = false;
  segment: number | undefined;
  address32 = false;

  constructor(domain: Domain) {
    this.domain = domain;
    this.#at = domain.state.is64 ? domain.state.rip : domain.state.rip + domain.state.base(CS);
  }

  byte(): number {
    if (this.length === 15) throw new Refused(EFAULT);
    const value = codeByte(this.domain, this.#at + BigInt(this.length));
    this.length++;
    return value;
  }

  /** Reads prefixes and gives the first opcode byte. */
  opcode(): number {
    for (;;) {
      const byte = this.byte();
      if (this.domain.state.is64 && (byte & 0xf0) === 0x40) {
        this.rex = byte;
        return this.byte();
      }
      if (!PREFIX_BYTES.has(byte)) return byte;
      if (byte === 0x66) this.operand16 = true;
      else if (byte === 0x67) this.address32 = this.domain.state.is64;
      else if (byte >= 0xf2) this.rep = true;
      else if (byte === 0x64 || byte === 0x65) this.segment = byte === 0x64 ? 4 : 5;
    }
  }

  /** Registers of a ModRM byte: `reg` with REX.R, `rm` with REX.B. */
  modrm(): { byte: number; reg: number; rm: number } {
    const byte = this.byte();
    return { byte, reg: ((byte >> 3) & 7) | ((this.rex & 4) << 1), rm: (byte & 7) | ((this.rex & 1) << 3) };
  }

  /** RIP behind the instruction. */
  finish(): void {
    const { state } = this.domain;
    const next = state.rip + BigInt(this.length);
    state.rip = BigInt.asUintN(state.is64 ? 64 : 32, next);
  }
}

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

/** Code is read as the guest runs it, by the root in use. */
function codeByte(domain: Domain, at: bigint): number {
  return Number(userBytes(() => domain.cpu.readLinear(BigInt.asUintN(64, at), 1, true)));
}

/** Refused where the access would have faulted. */
function userBytes<T>(access: () => T): T {
  try {
    return access();
  } catch (e) {
    throw isLinearFault(e) ? new Refused(EFAULT) : e;
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
  for (const [register, value] of [[0, eax], [3, ebx], [1, ecx], [2, edx]]) state.setGpr(register, BigInt(value), 4); // biome-ignore format: a list
}

/** Whether virtual IOPL lets the present mode use ports, CLI and STI. The kernel counts as ring 1 unless it asked for
 * the architectural way. */
function ioplAllows(domain: Domain): boolean {
  const cpl = domain.kernelMode ? (domain.hasAssist(ASSIST.ARCHITECTURAL_IOPL) ? 0 : 1) : 3;
  return cpl <= domain.iopl;
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
    state.setGpr(RCX, 0n, 4);
  } else if (opcode === 0x32) {
    const value = readMsr(domain, Number(state.gpr(RCX, 4)));
    if (value === undefined) return 'fault';
    state.setGpr(RAX, value & 0xffff_ffffn);
    state.setGpr(RDX, value >> 32n);
  } else if (opcode === 0x30) {
    const value = state.gpr(RAX, 4) | (state.gpr(RDX, 4) << 32n);
    if (!writeMsr(domain, Number(state.gpr(RCX, 4)), value)) return 'fault';
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
      return setControlRegister(domain, reg, state.gpr(rm)) ? 'done' : 'fault';
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
export function shownCr4(domain: Domain): bigint {
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

// ---- Ports: a plain domU has none. Reads are all ones, writes are dropped; 0xcf8 remembers.

function portAllowed(domain: Domain, number: number, size: number): boolean {
  if (ioplAllows(domain)) return true;
  const { address, ports } = domain.ioBitmap;
  if (number + size > ports) return false;
  const mask = domain.guest16(BigInt.asUintN(64, address + BigInt(number >> 3)));
  return (mask & (((1 << size) - 1) << (number & 7))) === 0;
}

function readPort(domain: Domain, number: number, size: 1 | 2 | 4): bigint {
  if (number === 0xcf8 && size === 4) return BigInt(domain.configAddress);
  return (1n << BigInt(8 * size)) - 1n;
}

function writePort(domain: Domain, number: number, size: 1 | 2 | 4, value: bigint): void {
  if (number === 0xcf8 && size === 4) domain.configAddress = Number(value);
}

function port(i: Instruction, opcode: number, number: number): Outcome {
  const { domain } = i;
  const size = (opcode & 1) === 0 ? 1 : i.operand16 ? 2 : 4;
  if (!portAllowed(domain, number, size)) return 'fault';
  if ((opcode & 2) === 0) domain.state.setGpr(RAX, readPort(domain, number, size), size);
  else writePort(domain, number, size, domain.state.gpr(RAX, size));
  i.finish();
  return 'done';
}

/** INS and OUTS, an element at a time: with REP the instruction is met again until its count is used up. */
function portString(i: Instruction, opcode: number): Outcome {
  const { domain } = i;
  const { state } = domain;
  const size = (opcode & 1) === 0 ? 1 : i.operand16 ? 2 : 4;
  const width = state.is64 && !i.address32 ? 8 : 4;
  const number = Number(state.gpr(RDX, 2));
  if (!portAllowed(domain, number, size)) return 'fault';
  const count = i.rep ? state.gpr(RCX, width) : 1n;
  if (count > 0n) {
    const input = (opcode & 2) === 0;
    const index = input ? RDI : RSI;
    const segment = input ? 0 : (i.segment ?? 3);
    const based = !state.is64 || segment >= 4;
    const offset = state.gpr(index, width);
    const at = BigInt.asUintN(state.is64 ? 64 : 32, (based ? state.base(segment) : 0n) + offset);
    if (input) {
      userBytes(() => domain.cpu.writeLinear(at, size, readPort(domain, number, size)));
    } else {
      writePort(
        domain,
        number,
        size,
        userBytes(() => domain.cpu.readLinear(at, size)),
      );
    }
    const step = BigInt((state.rflags & 0x400) === 0 ? size : -size);
    state.setGpr(index, BigInt.asUintN(8 * width, offset + step), width);
    if (i.rep) state.setGpr(RCX, count - 1n, width);
  }
  if (!i.rep || count <= 1n) i.finish();
  return 'done';
}
