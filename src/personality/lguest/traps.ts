/** Into a handler of the guest's: the frame on its stack, the flags, and its code segment.
 *
 * It must look as if a CPU of its own had done it, so that the guest's IRET undoes it. Three things are the host's work:
 * the hardware interrupt flag stays set for ever, so the pushed flags get their IF from irq_enabled, and an interrupt
 * gate clears irq_enabled instead; the handler runs in ring 1; and the kernel's stack for entries from user programs is
 * what LHCALL_SET_STACK named, there being no TSS of the guest's.
 * Follows: Linux drivers/lguest/interrupts_and_traps.c (4.6 and newer).   Next: personality/lguest/interrupts.ts. */
import { RFLAGS } from '../../x86/constants.ts';
import type { PersonalityCpu } from '../personality.ts';
import type { GuestGdt } from './gdt.ts';
import { GUEST_RING, IF, pushWords, type SharedData, stackWord } from './host.ts';
import type { GuestGate } from './idt.ts';

export const SEG = { CS: 1, SS: 2 } as const;
export const ESP = 4;
/** What entering a handler clears. */
const CLEARED = RFLAGS.TF | RFLAGS.VM | RFLAGS.RF | RFLAGS.NT;
/** What a guest may set by a word on its stack; not IOPL, which would give it the ports. */
const ITS_OWN =
  RFLAGS.CF | RFLAGS.PF | RFLAGS.AF | RFLAGS.ZF | RFLAGS.SF | RFLAGS.OF | RFLAGS.DF | RFLAGS.AC | RFLAGS.ID;

/** The stack for entries from user programs, as LHCALL_SET_STACK left it. */
export type KernelStack = { ss: number; esp: number };

export type TrapFrame = {
  gate: GuestGate;
  /** EIP to push. */
  returnTo: number;
  errorCode?: number | undefined;
  /** A fault pushes RF set, as the CPU does, so that a breakpoint there does not fire again. */
  resume?: boolean;
};

/** Sends the guest to a handler. Kills it when its stack or its segments are no good. */
export function enterHandler(
  cpu: PersonalityCpu,
  gdt: GuestGdt,
  data: SharedData | undefined,
  stack: KernelStack,
  { gate, returnTo, errorCode, resume }: TrapFrame,
): void {
  const { state } = cpu;
  const code = gdt.kernelCode();
  const outer = state.cpl !== GUEST_RING;
  const ss = outer ? gdt.stack(stack.ss) : undefined;
  const esp = Number(state.gpr(ESP, 4));
  let flags = state.rflags | (resume ? RFLAGS.RF : 0);
  if (!gate.direct && data && (data.get('irq_enabled') & IF) === 0) flags &= ~RFLAGS.IF;
  const words = [
    ...(outer ? [state.selector(SEG.SS), esp] : []),
    flags,
    state.selector(SEG.CS),
    returnTo,
    ...(errorCode === undefined ? [] : [errorCode]),
  ];
  const sp = pushWords(cpu, outer ? stack.esp : esp, words);
  if (ss) state.setSegment(SEG.SS, ss);
  state.setGpr(ESP, BigInt(sp), 8);
  jump(cpu, gate, code, data, state.rflags);
}

/** The guest stands at its one IRET, whose frame it is about to pop: finishing that and interrupting again would build
 * the same frame, so the handler gets this one, and only the flags are restored (lguest: a saver of recursion). */
export function enterHandlerInsteadOfIret(
  cpu: PersonalityCpu,
  gdt: GuestGdt,
  data: SharedData | undefined,
  gate: GuestGate,
): void {
  const restored = stackWord(cpu, Number(cpu.state.gpr(ESP, 4)) + 8);
  jump(cpu, gate, gdt.kernelCode(), data, (restored & ITS_OWN) | RFLAGS.ONE);
}

function jump(
  cpu: PersonalityCpu,
  gate: GuestGate,
  code: ReturnType<GuestGdt['kernelCode']>,
  data: SharedData | undefined,
  flags: number,
): void {
  const { state } = cpu;
  state.setSegment(SEG.CS, code);
  state.cpl = GUEST_RING;
  state.rip = BigInt(gate.offset);
  state.rflags = (flags & ~CLEARED) | RFLAGS.IF;
  cpu.modeChanged();
  if (gate.interruptGate) data?.set('irq_enabled', 0);
}
