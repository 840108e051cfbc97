/** Port instructions in ring 1: the little that lguest's launcher emulated.
 *
 * A guest kernel has no right to ports (IOPL 0), so IN, OUT and CLI raise #GP. The host hands the first bytes of the
 * instruction to the launcher, which knows these three and no prefix but 66. There is no hardware: reads give all-ones,
 * but for port 0x64, which says that a keyboard has something to say (kernels that wait for it then go on), and writes
 * go nowhere. Of the launcher's PCI bus nothing is here, so 0xcf8 and 0xcfc read all-ones like the rest.
 * Follows: Linux tools/lguest/lguest.c emulate_insn().   Next: personality/lguest/calls.ts. */
import { isLinearFault, type PersonalityCpu } from '../personality.ts';

const RAX = 0;
const RDX = 2;
const KEYBOARD_STATUS = 0x64;

/** Carries out the instruction at EIP if it is one of them, and moves EIP behind it. */
export function emulatePortInstruction(cpu: PersonalityCpu): boolean {
  const { state } = cpu;
  let length = 0;
  const next = (): number => byteAt(cpu, length++);
  let opcode = next();
  if (opcode === 0xfa) return done(cpu, length); // cli
  const small = opcode === 0x66;
  if (small) opcode = next();
  const immediate = opcode >= 0xe4 && opcode <= 0xe7;
  if (!immediate && !(opcode >= 0xec && opcode <= 0xef)) return false;
  const port = immediate ? next() : Number(state.gpr(RDX, 2));
  if (port < 0) return false; // the instruction goes on where nothing is mapped
  const isOut = (opcode & 2) !== 0;
  const size = (opcode & 1) === 0 ? 1 : small ? 2 : 4;
  if (!isOut) state.setGpr(RAX, port === KEYBOARD_STATUS ? 1n : 0xffff_ffffn, size);
  return done(cpu, length);
}

function done({ state }: PersonalityCpu, length: number): true {
  state.rip = (state.rip + BigInt(length)) & 0xffff_ffffn;
  return true;
}

/** A byte of the instruction, or -1. CS is flat in every guest that lguest ran; a base counts all the same. */
function byteAt(cpu: PersonalityCpu, index: number): number {
  const { state } = cpu;
  try {
    return Number(cpu.readLinear((state.base(1) + state.rip + BigInt(index)) & 0xffff_ffffn, 1));
  } catch (fault) {
    if (!isLinearFault(fault)) throw fault;
    return -1;
  }
}
