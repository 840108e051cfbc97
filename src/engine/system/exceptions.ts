/** Exceptions and interrupts: from a vector through the IDT to the handler's first instruction.
 *
 * One transfer (`enterHandler`) checks everything in the manual's order, probes every byte it will write, and only then
 * commits; so a transfer that fails leaves the state as it was, and the nested fault that it raised is judged by the
 * table of benign, contributory and page faults: handled in turn, #DF, or the triple fault that is returned as a value.
 * Follows: SDM Vol. 2, INT n; Vol. 3, 6.12 (legacy IDT), 6.14 (64-bit), 6.15 (#DF), 17.3.1.1 (RF).
 * Not built, ends the run by name: task gates, virtual-8086 mode.   May not: count instructions or poll devices.
 * Next: engine/system/far.ts. */
import { CR0, RFLAGS, SYSTEM_TYPE, VECTOR } from '../../x86/constants.ts';
import {
  dplOf,
  ERROR_EXT,
  ERROR_IDT,
  type Gate,
  gateOf,
  isGate16,
  isNull,
  limitOf,
  selectorError,
  splitDescriptor,
} from '../../x86/descriptor.ts';
import { isCanonical } from '../access.ts';
import { type CpuCore, GuestFault, type HelperInsn, Unbuilt } from '../core.ts';
import { SEG, STATE } from '../state.ts';
import {
  type CheckedStack,
  checkStack,
  type FoundDescriptor,
  findDescriptor,
  installSegment,
  isCode,
  isCode64,
  isConforming,
  isPresent,
  markAccessed,
  probeAccessed,
  probeStack,
  tableAddress,
} from './segments.ts';
import { currentStack, Frame, innerStack32, innerStack64, RSP, type Size, type Stack, U32 } from './stack.ts';

/** What `deliver*` end with: undefined when a handler is about to run. */
export type Delivery = 'triple-fault' | undefined;

export type DeliveryOptions = {
  /** INT n, INT3, INTO: the gate's DPL counts, error codes have no EXT bit, and RF is pushed as it is. */
  software?: boolean;
  /** RIP to push instead of state.rip (a trap whose instruction has not been left yet). */
  rip?: bigint;
  /** Bits that a #DB sets in DR6. */
  dr6?: number;
};

/** Delivers an exception. state.rip is what the handler will see: the instruction of a fault, the next of a trap. */
export function deliverException(
  core: CpuCore,
  vector: number,
  errorCode?: number,
  cr2?: bigint,
  options: DeliveryOptions = {},
): Delivery {
  if (vector === VECTOR.DB && options.dr6 !== undefined) recordDebug(core, options.dr6);
  return deliver(
    core,
    {
      vector,
      errorCode,
      software: options.software === true,
      ext: options.software === true ? 0 : ERROR_EXT,
      rip: options.rip ?? core.state.rip,
      resume: options.software !== true && isFault(vector),
    },
    cr2,
    options.software === true ? 'benign' : classOf(vector),
  );
}

/** Delivers an external interrupt (or NMI, vector 2) between two instructions. */
export function deliverInterrupt(core: CpuCore, vector: number): Delivery {
  const event: Event = {
    vector,
    errorCode: undefined,
    software: false,
    ext: ERROR_EXT,
    rip: core.state.rip,
    resume: false,
  };
  return deliver(core, event, undefined, 'benign');
}

/** INT n, INT3, INTO: a helper's transfer of control. Faults (#GP of the gate's DPL and all others) are thrown with
 * nothing changed, so that the run loop delivers them as faults of the instruction itself. */
export function softwareInterrupt(core: CpuCore, insn: HelperInsn, vector: number): true {
  enterHandler(core, { vector, errorCode: undefined, software: true, ext: 0, rip: insn.nextRip, resume: false });
  return true;
}

/** DR6 as a debug exception leaves it, and DR7.GD cleared for the handler's sake (SDM Vol. 3, 17.2.3 and 17.2.4). A
 * breakpoint or general-detect condition updates B0-B3; a single step leaves them. */
export function recordDebug(core: CpuCore, bits: number): void {
  const { state } = core;
  let dr6 = Number(state.dr(6));
  if ((bits & 0x200f) !== 0) dr6 &= ~0xf;
  state.setDr(6, BigInt((dr6 | bits) >>> 0));
  state.setDr(7, state.dr(7) & ~0x2000n);
}

type FaultClass = 'benign' | 'contributory' | 'page' | 'double';

/** SDM Vol. 3, table 6-4. */
export function classOf(vector: number): FaultClass {
  if (vector === VECTOR.PF) return 'page';
  if (vector === VECTOR.DF) return 'double';
  if (vector === VECTOR.DE || (vector >= VECTOR.TS && vector <= VECTOR.GP)) return 'contributory';
  return 'benign';
}

/** What a fault while another is being delivered becomes (SDM Vol. 3, table 6-5). */
export function combine(first: FaultClass, second: FaultClass): 'serial' | 'double-fault' | 'triple-fault' {
  if (first === 'double') return second === 'benign' ? 'serial' : 'triple-fault';
  if (first === 'contributory' && second === 'contributory') return 'double-fault';
  if (first === 'page' && (second === 'contributory' || second === 'page')) return 'double-fault';
  return 'serial';
}

/** Fault-class exceptions push RF set, so that a breakpoint on the instruction does not fire again. */
function isFault(vector: number): boolean {
  return (
    vector !== VECTOR.DB &&
    vector !== VECTOR.BP &&
    vector !== VECTOR.OF &&
    vector !== VECTOR.DF &&
    vector !== VECTOR.MC &&
    vector !== VECTOR.NMI
  );
}

type Event = {
  vector: number;
  errorCode: number | undefined;
  software: boolean;
  /** ERROR_EXT or 0, for the error codes of faults in delivery. */
  ext: number;
  rip: bigint;
  /** Push RF set. */
  resume: boolean;
};

function deliver(core: CpuCore, first: Event, cr2: bigint | undefined, firstClass: FaultClass): Delivery {
  let event = first;
  let kind = firstClass;
  if (cr2 !== undefined) core.state.set64('CR2', cr2);
  // Every round is benign → anything → page → #DF at the worst; the bound only states that.
  for (let round = 0; round < 8; round++) {
    try {
      enterHandler(core, event);
      return undefined;
    } catch (fault) {
      if (!(fault instanceof GuestFault)) throw fault;
      if (fault.cr2 !== undefined) core.state.set64('CR2', fault.cr2);
      const next = classOf(fault.vector);
      const verdict = combine(kind, next);
      if (verdict === 'triple-fault') return verdict;
      const double = verdict === 'double-fault';
      kind = double ? 'double' : next;
      event = {
        vector: double ? VECTOR.DF : fault.vector,
        errorCode: double ? 0 : fault.errorCode,
        software: false,
        ext: ERROR_EXT,
        // A software interrupt that fails points at itself, everything else at where it came from.
        rip: first.software ? core.state.rip : first.rip,
        resume: !double && isFault(fault.vector),
      };
    }
  }
  return 'triple-fault';
}

/** Reads and judges the IDT entry (SDM Vol. 2, INT n, "protected mode" and "IA-32e mode"). */
function readGate(core: CpuCore, event: Event): Gate {
  const { state } = core;
  const error = (event.vector * 8) | ERROR_IDT | event.ext;
  const bytes = state.longMode ? 16 : 8;
  const offset = event.vector * bytes;
  if (offset + bytes - 1 > state.idtrLimit) throw new GuestFault(VECTOR.GP, error);
  const address = tableAddress(core, state.get64('IDTR_BASE'), offset);
  const low = splitDescriptor(core.readLinear(address, 8, true));
  const top = state.longMode ? Number(core.readLinear(tableAddress(core, address, 8), 4, true)) : 0;
  const gate = gateOf(low, top);
  const system = (low.high & 0x1000) === 0;
  if (!system || !(state.longMode ? GATES_64 : GATES_32).has(gate.type)) throw new GuestFault(VECTOR.GP, error);
  if (event.software && gate.dpl < state.cpl) throw new GuestFault(VECTOR.GP, error);
  if (!gate.present) throw new GuestFault(VECTOR.NP, error);
  if (gate.type === SYSTEM_TYPE.TASK_GATE) throw new Unbuilt('hardware task switch', TABLE);
  return gate;
}
const TABLE = 'engine/system/exceptions.ts';
const GATES_64 = new Set<number>([SYSTEM_TYPE.INTERRUPT_GATE, SYSTEM_TYPE.TRAP_GATE]);
const GATES_32 = new Set<number>([
  ...GATES_64,
  SYSTEM_TYPE.INTERRUPT_GATE16,
  SYSTEM_TYPE.TRAP_GATE16,
  SYSTEM_TYPE.TASK_GATE,
]);

/** The gate's code segment, and the privilege level that the handler will have. */
function checkHandlerCode(core: CpuCore, gate: Gate, ext: number): { code: FoundDescriptor; level: number } {
  const { state } = core;
  if (isNull(gate.selector)) throw new GuestFault(VECTOR.GP, ext);
  const error = selectorError(gate.selector) | ext;
  const code = findDescriptor(core, gate.selector);
  if (!code || !isCode(code.attributes)) throw new GuestFault(VECTOR.GP, error);
  const dpl = dplOf(code.attributes);
  if (dpl > state.cpl) throw new GuestFault(VECTOR.GP, error);
  if (state.longMode && !isCode64(code.attributes)) throw new GuestFault(VECTOR.GP, error);
  if (!isPresent(code.attributes)) throw new GuestFault(VECTOR.NP, error);
  return { code, level: isConforming(code.attributes) ? state.cpl : dpl };
}

/** The transfer itself. Throws before it has changed a register or a byte. */
function enterHandler(core: CpuCore, event: Event): void {
  const { state } = core;
  const flags = state.rflags;
  if ((flags & RFLAGS.VM) !== 0) throw new Unbuilt('virtual-8086 mode', TABLE);
  if ((state.view.getUint32(STATE.CR0, true) & CR0.PE) === 0) throw new Unbuilt('real-address mode', TABLE);
  const gate = readGate(core, event);
  const { code, level } = checkHandlerCode(core, gate, event.ext);

  const target = state.longMode
    ? handlerStack64(core, gate, level, event.ext)
    : handlerStack32(core, gate, level, event.ext);
  const { size, stack, checked, outer, overflow } = target;

  const frame = new Frame(core, stack, size, level, overflow);
  if (outer) {
    frame.push(BigInt(state.selector(SEG.SS)));
    frame.push(state.gpr(RSP));
  }
  frame.push(BigInt((event.resume ? flags | RFLAGS.RF : flags) >>> 0));
  frame.push(BigInt(state.selector(SEG.CS)));
  frame.push(event.rip);
  if (event.errorCode !== undefined) frame.push(BigInt(event.errorCode));
  frame.check();
  if (state.longMode ? !isCanonical(gate.offset) : gate.offset > limitOf(code)) {
    throw new GuestFault(VECTOR.GP, event.ext);
  }
  frame.probe();
  probeAccessed(core, code);
  if (checked) probeStack(core, checked);

  // Memory first: should a frame lie over the page tables that map it, the registers are still whole.
  const sp = frame.commit();
  if (checked?.found) markAccessed(core, checked.found);
  markAccessed(core, code);
  if (checked || (state.longMode && level !== state.cpl)) state.setSegment(SEG.SS, stack.ss);
  installSegment(core, SEG.CS, code, (gate.selector & ~3) | level);
  state.setGpr(RSP, sp, state.longMode ? 8 : 4);
  state.cpl = level;
  state.rip = gate.offset;
  const clear = RFLAGS.TF | RFLAGS.NT | RFLAGS.RF | RFLAGS.VM | (isTrapGate(gate.type) ? 0 : RFLAGS.IF);
  state.rflags = flags & ~clear;
  state.shadow = 0;
  core.modeChanged();
}

const isTrapGate = (type: number): boolean => (type & 1) !== 0;

type HandlerStack = {
  size: Size;
  stack: Stack;
  /** The new SS, when a descriptor has to be loaded for it. */
  checked: CheckedStack | undefined;
  /** Whether SS:RSP go into the frame. */
  outer: boolean;
  /** Error code of #SS when the frame does not fit. */
  overflow: number;
};

/** 64-bit delivery always pushes SS:RSP, on a stack aligned to 16 bytes (SDM Vol. 3, 6.14.2). */
function handlerStack64(core: CpuCore, gate: Gate, level: number, ext: number): HandlerStack {
  const { state } = core;
  const switches = gate.ist !== 0 || level !== state.cpl;
  const { ss, sp } = switches
    ? innerStack64(core, level, gate.ist, ext)
    : { ss: state.segment(SEG.SS), sp: state.gpr(RSP) };
  if (switches && !isCanonical(sp)) throw new GuestFault(VECTOR.SS, ext);
  return { size: 8, stack: { ss, sp: sp & ~15n, is64: true }, checked: undefined, outer: true, overflow: ext };
}

function handlerStack32(core: CpuCore, gate: Gate, level: number, ext: number): HandlerStack {
  const { state } = core;
  const size: Size = isGate16(gate.type) ? 2 : 4;
  if (level === state.cpl) {
    return { size, stack: currentStack(state), checked: undefined, outer: false, overflow: ext };
  }
  const { checked, sp } = switchStack32(core, level, ext);
  const overflow = selectorError(checked.segment.selector) | ext;
  return { size, stack: { ss: checked.segment, sp, is64: false }, checked, outer: true, overflow };
}

/** The stack of an inner level in legacy mode, from the TSS, with its #TS and #SS checks. Call gates share it. */
export function switchStack32(core: CpuCore, level: number, ext: number): { checked: CheckedStack; sp: bigint } {
  const { selector, sp } = innerStack32(core, level, ext);
  if (isNull(selector)) throw new GuestFault(VECTOR.TS, ext);
  return { checked: checkStack(core, selector, level, VECTOR.TS, ext), sp: sp & U32 };
}

export const exceptionHelpers = {
  int: (core: CpuCore, insn: HelperInsn): true => softwareInterrupt(core, insn, Number(insn.immediate & 0xffn)),
  int3: (core: CpuCore, insn: HelperInsn): true => softwareInterrupt(core, insn, VECTOR.BP),
  into: (core: CpuCore, insn: HelperInsn): boolean =>
    (core.state.rflags & RFLAGS.OF) !== 0 && softwareInterrupt(core, insn, VECTOR.OF),
  /** INT1: a debug trap that no gate's DPL can refuse; it sets nothing in DR6. */
  int1: (core: CpuCore, insn: HelperInsn): true => {
    const next = { errorCode: undefined, software: false, ext: ERROR_EXT, rip: insn.nextRip, resume: false };
    enterHandler(core, { vector: VECTOR.DB, ...next });
    recordDebug(core, 0);
    return true;
  },
};
