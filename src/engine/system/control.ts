/** Control and debug registers, CPUID, time stamps and the other instructions that rule the CPU.
 *
 * Each is a helper named like its row. All checks come first: a helper that faults has changed nothing. Which bits of
 * CR4 and EFER exist is the CPUID model's word, so a guest cannot turn on what it was not shown.
 * Follows: SDM Vol. 3, 2.5, 2.2.1, 9.8.5 (long mode), 17.2 (debug registers); Vol. 2 for each instruction.
 * Departures: leaving protected mode ends the run by name; MTRRs and caches do not exist,
 * so CD, NW, WBINVD and INVD only check. VMCALL and VMMCALL lead to a hypervisor beside the guest, either of them
 * on any model, and raise #UD where there is none.
 * May not: know a device.   Next: engine/system/msr-access.ts. */
import { CR0, CR4, DR6, DR6_FIXED, DR7, DR7_FIXED, EFER, VECTOR } from '../../x86/constants.ts';
import { cpuid as leaves } from '../../x86/cpuid.ts';
import { ACCESS, type HelperInsn, Unbuilt } from '../core.ts';
import { SEG } from '../state.ts';
import { recordDebug } from './exceptions.ts';
import { setEdxEax, timeStamp } from './msr-access.ts';
import { fault, RAX, RBX, RCX, RDX, type SystemCore, type SystemHelper, U32 } from './system-core.ts';

export function needSupervisor(core: SystemCore): void {
  if (core.state.cpl !== 0) fault(VECTOR.GP, 0);
}
const undefinedOpcode: SystemHelper = () => fault(VECTOR.UD);
const has = (core: SystemCore, bits: number): boolean => (core.state.get64('CR4') & BigInt(bits)) !== 0n;
/** MOV CR and MOV DR move 64 bits in 64-bit code and 32 elsewhere, whatever the prefixes. */
const width = (core: SystemCore): 4 | 8 => (core.state.is64 ? 8 : 4);

// ---- Control registers

const CR_NAMES = { 0: 'CR0', 2: 'CR2', 3: 'CR3', 4: 'CR4', 8: 'CR8' } as const;
type ControlRegister = keyof typeof CR_NAMES;

function controlRegister(insn: HelperInsn): ControlRegister {
  if (!(insn.reg in CR_NAMES)) fault(VECTOR.UD);
  return insn.reg as ControlRegister;
}

function mov_from_cr(core: SystemCore, insn: HelperInsn): void {
  const register = controlRegister(insn);
  needSupervisor(core);
  core.state.setGpr(insn.rm, core.state.get64(CR_NAMES[register]), width(core));
}

function mov_to_cr(core: SystemCore, insn: HelperInsn): void {
  const register = controlRegister(insn);
  needSupervisor(core);
  const value = core.state.gpr(insn.rm, width(core));
  if (register === 0) writeCr0(core, value);
  else if (register === 3) writeCr3(core, value);
  else if (register === 4) writeCr4(core, value);
  else {
    if (register === 8 && value > 15n) fault(VECTOR.GP, 0);
    core.state.set64(CR_NAMES[register], value);
  }
}

const CR0_BITS = (CR0.PE | CR0.MP | CR0.EM | CR0.TS | CR0.NE | CR0.WP | CR0.AM | CR0.NW | CR0.CD | CR0.PG) >>> 0;
const CR0_CACHED_BY_TLB = (CR0.PE | CR0.PG | CR0.WP | CR0.AM) >>> 0;

/** SDM Vol. 3, 2.5 and 9.8.5: going into and out of long mode happens where PG changes. */
export function writeCr0(core: SystemCore, wanted: bigint): void {
  const { state } = core;
  if (wanted > U32) fault(VECTOR.GP, 0);
  const value = ((Number(wanted) & CR0_BITS) | CR0.ET) >>> 0;
  const pg = (value & CR0.PG) !== 0;
  if (pg && (value & CR0.PE) === 0) fault(VECTOR.GP, 0);
  if ((value & CR0.NW) !== 0 && (value & CR0.CD) === 0) fault(VECTOR.GP, 0);
  const old = Number(state.get64('CR0'));
  const changed = (old ^ value) >>> 0;
  let efer = Number(state.get64('EFER'));
  if ((changed & CR0.PG) !== 0) {
    if (pg && (efer & EFER.LME) !== 0) {
      const codeIs64 = (state.attributes(SEG.CS) & 0x2000) !== 0; // CS.L would mean 64-bit code at once
      if (!has(core, CR4.PAE) || codeIs64) fault(VECTOR.GP, 0);
      efer |= EFER.LMA;
    } else if (!pg) {
      if (state.is64) fault(VECTOR.GP, 0);
      efer &= ~EFER.LMA;
    }
  }
  if ((changed & CR0.PE) !== 0 && (value & CR0.PE) === 0) {
    throw new Unbuilt('real mode (CR0.PE cleared)', 'src/engine/system/control.ts, writeCr0');
  }
  const legacyPae = pg && has(core, CR4.PAE) && (efer & EFER.LMA) === 0;
  if (legacyPae && (changed & (CR0.PG | CR0.CD | CR0.NW)) !== 0 && !core.loadPdptes(Number(state.get64('CR3') & U32))) {
    fault(VECTOR.GP, 0);
  }
  state.set64('EFER', BigInt(efer));
  state.set64('CR0', BigInt(value));
  if ((changed & CR0_CACHED_BY_TLB) !== 0) core.flushTlb();
  core.modeChanged();
}

export function writeCr3(core: SystemCore, value: bigint): void {
  const { state } = core;
  if (state.longMode) {
    if (value >> BigInt(core.model.physicalBits) !== 0n) fault(VECTOR.GP, 0);
  } else if ((state.get64('CR0') & BigInt(CR0.PG)) !== 0n && has(core, CR4.PAE)) {
    if (!core.loadPdptes(Number(value & U32))) fault(VECTOR.GP, 0);
  }
  state.set64('CR3', value);
  core.flushTlb(true);
}

/** Bits of CR4 by the feature that shows them. PCE needs none: RDPMC is there on every model. */
const CR4_FEATURES = [
  ['TSC', CR4.TSD],
  ['DE', CR4.DE],
  ['PSE', CR4.PSE],
  ['PAE', CR4.PAE],
  ['PGE', CR4.PGE],
  ['FXSR', CR4.OSFXSR],
  ['SSE', CR4.OSXMMEXCPT],
  ['FSGSBASE', CR4.FSGSBASE],
  ['SMEP', CR4.SMEP],
] as const;
const CR4_CACHED_BY_TLB = CR4.PSE | CR4.PAE | CR4.PGE | CR4.SMEP;

export function writeCr4(core: SystemCore, wanted: bigint): void {
  const { state } = core;
  let allowed: number = CR4.PCE;
  for (const [feature, bit] of CR4_FEATURES) if (core.model.features.has(feature)) allowed |= bit;
  if ((wanted & ~BigInt(allowed)) !== 0n) fault(VECTOR.GP, 0);
  const value = Number(wanted);
  const changed = Number(state.get64('CR4')) ^ value;
  if ((changed & CR4.PAE) !== 0 && state.longMode) fault(VECTOR.GP, 0);
  const paging = (state.get64('CR0') & BigInt(CR0.PG)) !== 0n;
  if (paging && !state.longMode && (value & CR4.PAE) !== 0 && (changed & CR4_CACHED_BY_TLB) !== 0) {
    if (!core.loadPdptes(Number(state.get64('CR3') & U32))) fault(VECTOR.GP, 0);
  }
  state.set64('CR4', wanted);
  if ((changed & CR4_CACHED_BY_TLB) !== 0) core.flushTlb();
  core.modeChanged();
}

function clts(core: SystemCore): void {
  needSupervisor(core);
  core.state.set64('CR0', core.state.get64('CR0') & ~BigInt(CR0.TS));
  core.modeChanged();
}

/** Writes PE, MP, EM and TS; PE can be set but not cleared. */
function lmsw(core: SystemCore, insn: HelperInsn): void {
  needSupervisor(core);
  const { state } = core;
  const word = insn.isMemory ? core.readSegment(insn.segment, insn.offset(), 2) : state.gpr(insn.rm, 2);
  const old = state.get64('CR0');
  writeCr0(core, (old & ~0xen) | (word & 0xfn));
}

function smsw(core: SystemCore, insn: HelperInsn): void {
  const cr0 = core.state.get64('CR0');
  if (insn.isMemory) core.writeSegment(insn.segment, insn.offset(), 2, cr0 & 0xffffn);
  else core.state.setGpr(insn.rm, cr0, insn.operandSize);
}

// ---- Debug registers

/** DR4 and DR5 are DR6 and DR7 unless CR4.DE refuses them. With DR7.GD set, touching any raises #DB before. */
function debugRegister(core: SystemCore, insn: HelperInsn): number {
  if (insn.reg > 7) fault(VECTOR.UD);
  const aliased = insn.reg === 4 || insn.reg === 5;
  if (aliased && has(core, CR4.DE)) fault(VECTOR.UD);
  needSupervisor(core);
  if ((core.state.dr(7) & BigInt(DR7.GD)) !== 0n) {
    recordDebug(core, DR6.BD);
    fault(VECTOR.DB);
  }
  return aliased ? insn.reg + 2 : insn.reg;
}

function mov_from_dr(core: SystemCore, insn: HelperInsn): void {
  const register = debugRegister(core, insn);
  core.state.setGpr(insn.rm, core.state.dr(register), width(core));
}

const DR6_WRITABLE = 0xe00f;
const DR7_WRITABLE = 0xffff_23ff;

function mov_to_dr(core: SystemCore, insn: HelperInsn): void {
  const { state } = core;
  const register = debugRegister(core, insn);
  let value = state.gpr(insn.rm, width(core));
  if (register >= 6) {
    if (value > U32) fault(VECTOR.GP, 0);
    const [writable, fixed] = register === 6 ? [DR6_WRITABLE, DR6_FIXED] : [DR7_WRITABLE, DR7_FIXED];
    value = (value & BigInt(writable)) | BigInt(fixed);
  }
  state.setDr(register, value);
  if (register === 6) return;
  core.flushTlb(); // pages under data breakpoints have no tags
  core.modeChanged();
}

// ---- CPUID, time, caches, translations

function cpuid(core: SystemCore): void {
  const { state } = core;
  const result = leaves(core.model, Number(state.gpr(RAX, 4)), Number(state.gpr(RCX, 4)));
  state.setGpr(RAX, BigInt(result.eax), 4);
  state.setGpr(RBX, BigInt(result.ebx), 4);
  state.setGpr(RCX, BigInt(result.ecx), 4);
  state.setGpr(RDX, BigInt(result.edx), 4);
}

function rdtsc(core: SystemCore): void {
  if (!core.model.features.has('TSC')) fault(VECTOR.UD);
  if (core.state.cpl !== 0 && has(core, CR4.TSD)) fault(VECTOR.GP, 0);
  setEdxEax(core, timeStamp(core));
}

function rdtscp(core: SystemCore): void {
  if (!core.model.features.has('RDTSCP')) fault(VECTOR.UD);
  rdtsc(core);
  core.state.setGpr(RCX, core.state.get64('TSC_AUX') & U32, 4);
}

/** Four counters that never count, as their MSRs say. */
function rdpmc(core: SystemCore): void {
  if (core.state.cpl !== 0 && !has(core, CR4.PCE)) fault(VECTOR.GP, 0);
  if (core.state.gpr(RCX, 4) > 3n) fault(VECTOR.GP, 0);
  setEdxEax(core, 0n);
}

/** No limit and no canonical check: an address that could not be used has no translation to drop. */
function invlpg(core: SystemCore, insn: HelperInsn): void {
  needSupervisor(core);
  const { state } = core;
  const based = !state.is64 || insn.segment === SEG.FS || insn.segment === SEG.GS;
  const address = insn.offset() + (based ? state.base(insn.segment) : 0n);
  core.flushTlbPage(BigInt.asUintN(state.is64 ? 64 : 32, address));
}

function clflush(core: SystemCore, insn: HelperInsn): void {
  core.probeLinear(core.linear(insn.segment, insn.offset(), 1, false), 1, ACCESS.READ);
}

// ---- The kernel's GS base

function swapgs(core: SystemCore): void {
  if (!core.state.is64) fault(VECTOR.UD);
  needSupervisor(core);
  const { state } = core;
  const base = state.base(SEG.GS);
  state.setBase(SEG.GS, state.get64('KERNEL_GS_BASE'));
  state.set64('KERNEL_GS_BASE', base);
}

// ---- A hypervisor beside the guest

function hypercall(core: SystemCore): boolean {
  return core.calls?.hypercall() ?? fault(VECTOR.UD);
}

export const controlHelpers: Record<string, SystemHelper> = {
  mov_from_cr,
  mov_to_cr,
  mov_from_dr,
  mov_to_dr,
  clts,
  lmsw,
  smsw,
  cpuid,
  rdtsc,
  rdtscp,
  rdpmc,
  invlpg,
  invd: needSupervisor,
  wbinvd: needSupervisor,
  clflush,
  swapgs,
  // No model shows what these belong to.
  xgetbv: undefinedOpcode,
  xsetbv: undefinedOpcode,
  monitor: undefinedOpcode,
  mwait: undefinedOpcode,
  stac: undefinedOpcode,
  clac: undefinedOpcode,
  vmrun: undefinedOpcode,
  vmcall: hypercall,
  vmmcall: hypercall,
};
