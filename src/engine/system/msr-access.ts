/** RDMSR and WRMSR: the rows of x86/msr.ts, obeyed.
 *
 * Follows: SDM Vol. 2, RDMSR, WRMSR; Vol. 3, 2.2.1 (EFER), 11.12.2 (PAT).
 * May not: list numbers (x86/msr.ts does).   Next: engine/system/io.ts. */
import { CR0, EFER, VECTOR } from '../../x86/constants.ts';
import { findMsr, type Msr } from '../../x86/msr.ts';
import { isCanonical } from '../access.ts';
import type { Register64 } from '../cpu-state.ts';
import { highHalf, lowHalf } from '../halves.ts';
import { SEG } from '../state.ts';
import { fault, RAX, RCX, RDX, type SystemCore, type SystemHelper } from './system-core.ts';

/** The TSC counts nanoseconds of virtual time, at 1 GHz. */
export function timeStamp(core: SystemCore): bigint {
  return BigInt.asUintN(64, BigInt(core.now) + core.state.get64('TSC_OFFSET'));
}

export function setEdxEax(core: SystemCore, value: bigint): void {
  core.state.setGpr(RAX, BigInt(lowHalf(value) >>> 0), 4);
  core.state.setGpr(RDX, BigInt(highHalf(value) >>> 0), 4);
}

/** The row of a register that this model shows; #GP(0) and an entry in the report's list otherwise. */
function row(core: SystemCore, write: boolean): Msr {
  if (core.state.cpl !== 0) fault(VECTOR.GP, 0);
  const number = Number(core.state.gpr(RCX, 4));
  const msr = findMsr(number);
  if (msr && (msr.feature === undefined || core.model.features.has(msr.feature))) return msr;
  core.unknownMsr?.(number, write);
  return fault(VECTOR.GP, 0);
}

/** The names of `state` rows are names in the state; a test compares the two. */
const stateName = (msr: Msr) => msr.name as Register64;

export function readMsr(core: SystemCore, msr: Msr): bigint {
  const { state } = core;
  switch (msr.kind) {
    case 'state':
      return state.get64(stateName(msr));
    case 'base':
      return state.base(SEG[msr.segment]);
    case 'tsc':
      return timeStamp(core);
    case 'efer':
      return state.get64('EFER');
    case 'pat':
      return state.get64('PAT');
    case 'fixed':
      return msr.value;
  }
}

export function writeMsr(core: SystemCore, msr: Msr, value: bigint): void {
  const { state } = core;
  switch (msr.kind) {
    case 'state':
      if (msr.canonical && !isCanonical(value)) fault(VECTOR.GP, 0);
      state.set64(stateName(msr), value & (msr.bits ?? ~0n));
      break;
    case 'base':
      if (!isCanonical(value)) fault(VECTOR.GP, 0);
      state.setBase(SEG[msr.segment], value);
      break;
    case 'tsc':
      state.set64('TSC_OFFSET', value - BigInt(core.now));
      break;
    case 'efer':
      writeEfer(core, value);
      break;
    case 'pat':
      writePat(core, value);
      break;
    case 'fixed':
      if (msr.readOnly) fault(VECTOR.GP, 0);
  }
}

const EFER_FEATURES = [
  ['SYSCALL', EFER.SCE],
  ['LM', EFER.LME],
  ['NX', EFER.NXE],
] as const;

/** LMA is the CPU's: written values of it are ignored. LME cannot change while paging is on. */
function writeEfer(core: SystemCore, wanted: bigint): void {
  const { state } = core;
  let allowed = 0;
  for (const [feature, bit] of EFER_FEATURES) if (core.model.features.has(feature)) allowed |= bit;
  if ((wanted & ~BigInt(allowed | EFER.LMA)) !== 0n) fault(VECTOR.GP, 0);
  const old = Number(state.get64('EFER'));
  const value = (Number(wanted) & allowed) | (old & EFER.LMA);
  const paging = (state.get64('CR0') & BigInt(CR0.PG)) !== 0n;
  if (paging && ((old ^ value) & EFER.LME) !== 0) fault(VECTOR.GP, 0);
  state.set64('EFER', BigInt(value));
  if (((old ^ value) & EFER.NXE) !== 0) core.flushTlb();
  core.modeChanged();
}

/** Eight memory types; 2, 3 and above 7 do not exist. Kept, and otherwise without effect. */
function writePat(core: SystemCore, value: bigint): void {
  for (let i = 0n; i < 64n; i += 8n) {
    const type = (value >> i) & 0xffn;
    if (type > 7n || type === 2n || type === 3n) fault(VECTOR.GP, 0);
  }
  core.state.set64('PAT', value);
}

function rdmsr(core: SystemCore): void {
  const hypervisors = core.state.cpl === 0 ? core.calls?.readMsr(Number(core.state.gpr(RCX, 4))) : undefined;
  if (hypervisors !== undefined) setEdxEax(core, hypervisors);
  else setEdxEax(core, readMsr(core, row(core, false)));
}

function wrmsr(core: SystemCore): void {
  const value = (core.state.gpr(RDX, 4) << 32n) | core.state.gpr(RAX, 4);
  if (core.state.cpl === 0 && core.calls?.writeMsr(Number(core.state.gpr(RCX, 4)), value)) return;
  writeMsr(core, row(core, true), value);
}

export const msrHelpers: Record<string, SystemHelper> = { rdmsr, wrmsr };
