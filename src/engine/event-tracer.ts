/** EventTracer: the instructions and transfers that a trace lists, put into the recorder's words.
 *
 * Control, debug and model-specific registers, descriptor tables, CPUID and ports are helper instructions; what they were
 * given is noted before they run, what they gave afterwards. Under a hypervisor many of them fault and are carried out by
 * it; those show as the exception, and the hypervisor tells what it did.
 * May not: change anything.   Next: engine/cpu.ts. */
import { type EventKind, TABLE, type TraceRecorder } from '../trace/recorder.ts';
import type { HelperInsn } from './core.ts';
import type { CpuState, Register64 } from './cpu-state.ts';
import { SEG } from './state.ts';

const [RAX, RCX, RDX, RBX] = [0, 1, 2, 3];
/** Helpers that are events. */
export const EVENT_HELPERS: ReadonlySet<string> = new Set([
  'mov_to_cr', 'clts', 'lmsw', 'mov_to_dr', 'rdmsr', 'wrmsr', 'cpuid', 'in', 'out', 'ins', 'outs',
  'lgdt', 'lidt', 'lldt', 'ltr',
]); // biome-ignore format: a list

/** What an event needs of the CPU. */
type Seen = { readonly state: CpuState; readonly instructions: number };

export class EventTracer {
  readonly #cpu: Seen;
  readonly #to: TraceRecorder;
  #eax = 0n;
  #ecx = 0n;
  #port = 0;

  constructor(cpu: Seen, to: TraceRecorder) {
    this.#cpu = cpu;
    this.#to = to;
  }

  /** Before a helper of EVENT_HELPERS runs. */
  before(insn: HelperInsn): void {
    const { state } = this.#cpu;
    this.#eax = state.gpr(RAX);
    this.#ecx = state.gpr(RCX, 4);
    this.#port = (insn.opcode & 8) === 0 ? Number(insn.immediate & 0xffn) : Number(state.gpr(RDX, 2));
  }

  /** After it has completed, and before it is counted. */
  after(helper: string, insn: HelperInsn): void {
    const [kind, number, ...values] = this.#describe(helper, insn);
    this.#to.event(kind, this.#cpu.instructions, insn.rip, number, ...values);
  }

  #describe(helper: string, insn: HelperInsn): [kind: EventKind, number: number, ...values: bigint[]] {
    const { state } = this.#cpu;
    const low = (register: number): bigint => state.gpr(register, 4);
    const dx = Number(state.gpr(RDX, 2));
    switch (helper) {
      case 'mov_to_cr':
        return ['cr-write', insn.reg, controlRegister(state, insn.reg)];
      case 'clts':
      case 'lmsw':
        return ['cr-write', 0, state.get64('CR0')];
      case 'mov_to_dr':
        return ['dr-write', insn.reg, state.gpr(insn.rm)];
      case 'rdmsr':
      case 'wrmsr':
        return [helper === 'rdmsr' ? 'msr-read' : 'msr-write', Number(this.#ecx), (low(RDX) << 32n) | low(RAX)];
      case 'cpuid':
        return ['cpuid', Number(this.#eax & 0xffff_ffffn), this.#ecx, low(RAX), low(RBX), low(RCX), low(RDX)];
      case 'in':
        return ['port-in', this.#port, state.gpr(RAX, portSize(insn))];
      case 'out':
        return ['port-out', this.#port, BigInt.asUintN(8 * portSize(insn), this.#eax)];
      case 'ins':
        return ['port-in', dx];
      case 'outs':
        return ['port-out', dx];
      case 'lgdt':
        return ['table-load', TABLE.GDTR, state.get64('GDTR_BASE'), BigInt(state.gdtrLimit)];
      case 'lidt':
        return ['table-load', TABLE.IDTR, state.get64('IDTR_BASE'), BigInt(state.idtrLimit)];
      default: {
        const { base, limit, selector } = state.segment(helper === 'lldt' ? SEG.LDTR : SEG.TR);
        return ['table-load', helper === 'lldt' ? TABLE.LDTR : TABLE.TR, base, BigInt(limit), BigInt(selector)];
      }
    }
  }

  exception(vector: number, errorCode: number | undefined, cr2: bigint | undefined): void {
    const { state, instructions } = this.#cpu;
    const values = [...(errorCode === undefined ? [] : [BigInt(errorCode)]), ...(cr2 === undefined ? [] : [cr2])];
    this.#to.event('exception', instructions, state.rip, vector, ...values);
  }

  interrupt(vector: number): void {
    this.#to.event('interrupt', this.#cpu.instructions, this.#cpu.state.rip, vector);
  }

  softwareInterrupt(vector: number, rip: bigint): void {
    this.#to.event('int', this.#cpu.instructions, rip, vector);
  }
}

function controlRegister(state: CpuState, number: number): bigint {
  const names: Record<number, Register64> = { 0: 'CR0', 2: 'CR2', 3: 'CR3', 4: 'CR4', 8: 'CR8' };
  return state.get64(names[number] ?? 'CR0');
}

const portSize = ({ opcode, operandSize }: HelperInsn): 1 | 2 | 4 =>
  (opcode & 1) === 0 ? 1 : operandSize === 2 ? 2 : 4;
