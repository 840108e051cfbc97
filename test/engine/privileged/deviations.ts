/** Where QEMU 7.2 (TCG) does not do what processors do: what we print instead, and why that is right.
 *
 * Every other line of the recordings must be ours, byte for byte.   Next: privileged.test.ts. */

type Deviation = { guests: readonly string[]; test: string; ours: string; why: string };

const RSVD = 'SDM Vol. 3, 4.7: RSVD comes with P set; QEMU clears P (later versions set it)';
const LIMITS = 'QEMU checks neither limits nor types of segments; SDM Vol. 3, 5.3 and 5.5';
const CANONICAL_BRANCH = 'SDM Vol. 2, JMP, RET and IRET: the branch itself faults; QEMU faults at its target';
const STACK_ADDRESS = 'SDM Vol. 3, 3.3.7.1: through RSP and RBP it is #SS; QEMU raises #GP';
const IDT_ERROR = 'SDM Vol. 3, 6.13: the index counts gates, in bits 3 and up; QEMU shifts by 4 in long mode';
const MSRS = 'SDM Vol. 2, RDMSR and WRMSR; QEMU takes what it does not know';
const BOTH = ['paging2', 'pae'];

export const DEVIATIONS: readonly Deviation[] = [
  {
    guests: ['paging2'],
    test: 'pf: reserved bit 21 of a large page',
    ours: '#e(9) at +11 cs 10 flags 0 cr2 800000 ax 0',
    why: RSVD,
  },
  { guests: BOTH, test: 'gp: a read past the limit', ours: '#d(0) at +d cs 10 flags 0 ax 0', why: LIMITS },
  { guests: BOTH, test: 'gp: expand-down, below', ours: '#d(0) at +e cs 10 flags 0 ax 98', why: LIMITS },
  { guests: BOTH, test: 'gp: write of read-only data', ours: '#d(0) at +e cs 10 flags 0 ax 58', why: LIMITS },
  { guests: BOTH, test: 'gp: write of code', ours: '#d(0) at +0 cs 10 flags 0 ax 0', why: LIMITS },
  { guests: BOTH, test: 'gp: read of a null segment', ours: '#d(0) at +4 cs 10 flags 0 ax 0', why: LIMITS },
  {
    guests: BOTH,
    test: 'ss: SS1 absent',
    ours: '#c(48) at +50 cs 23 flags 0 ax 0',
    why: 'SDM Vol. 2, INT n: an absent stack segment is #SS; QEMU raises #TS',
  },
  {
    guests: BOTH,
    test: 'ac: a misaligned access at level 3',
    ours: '#11(0) at +2c cs 23 flags 40000 ax 0',
    why: 'QEMU has no alignment checks; SDM Vol. 3, 6.15',
  },
  {
    guests: ['pae'],
    test: 'pf: reserved bit 62 of an entry',
    ours: '#e(9) at +e cs 10 flags 0 cr2 600000 ax 0',
    why: RSVD,
  },
  {
    guests: ['pae'],
    test: 'pf: reserved bit 13 of a large page',
    ours: '#e(9) at +11 cs 10 flags 0 cr2 800000 ax 0',
    why: RSVD,
  },
  {
    guests: ['pae'],
    test: 'gp: mov to CR3 with a reserved bit in a PDPTE',
    ours: '#d(0) at +a cs 10 flags 0 ax 210000',
    why: 'SDM Vol. 3, 4.4.1: loading a PDPTE with reserved bits is #GP; QEMU does not look',
  },
  {
    guests: ['pae'],
    test: 'ok: PDPTEs are read when CR3 is loaded, not later',
    ours: 'done ax 5',
    why: 'SDM Vol. 3, 4.4.1: PDPTEs are registers, loaded with CR3; QEMU reads them from memory',
  },
  {
    guests: ['long'],
    test: 'pf: NX is reserved without NXE',
    ours: '#e(9) at +21 cs 10 flags 0 cr2 600000 ax 101',
    why: RSVD,
  },
  {
    guests: ['long'],
    test: 'pf: reserved bit 51 of an entry',
    ours: '#e(9) at +10 cs 10 flags 0 cr2 600000 ax 0',
    why: RSVD,
  },
  {
    guests: ['long'],
    test: 'pf: reserved bit 40 of a directory entry',
    ours: '#e(b) at +10 cs 10 flags 0 cr2 600000 ax 0',
    why: RSVD,
  },
  {
    guests: ['long'],
    test: 'pf: reserved bit 13 of a large page',
    ours: '#e(9) at +1e cs 10 flags 0 cr2 600000 ax 0',
    why: RSVD,
  },
  {
    guests: ['long'],
    test: 'pf: PS in the root is reserved',
    ours: '#e(9) at +21 cs 10 flags 0 cr2 8000000000 ax 210000',
    why: RSVD,
  },
  {
    guests: ['long'],
    test: 'pf: user and reserved at once',
    ours: '#e(d) at +2a cs 33 flags 0 cr2 600000 ax 0',
    why: RSVD,
  },
  {
    guests: ['long'],
    test: 'ss: by RBP it is the stack segment',
    ours: '#c(0) at +a cs 10 flags 0 ax 0',
    why: STACK_ADDRESS,
  },
  {
    guests: ['long'],
    test: 'ss: push to a non-canonical stack, on an IST',
    ours: '#c(0) at +25 cs 10 flags 0 ax 0',
    why: STACK_ADDRESS,
  },
  {
    guests: ['long'],
    test: 'gp: a jump to a non-canonical address',
    ours: '#d(0) at +a cs 10 flags 0 ax 0',
    why: CANONICAL_BRANCH,
  },
  {
    guests: ['long'],
    test: 'gp: ret to a non-canonical address',
    ours: '#d(0) at +b cs 10 flags 0 ax 0',
    why: CANONICAL_BRANCH,
  },
  { guests: ['long'], test: 'gp: LME cannot go while paging', ours: '#d(0) at +f cs 10 flags 0 ax 801', why: MSRS },
  { guests: ['long'], test: 'gp: an MSR that does not exist', ours: '#d(0) at +5 cs 10 flags 0 ax 0', why: MSRS },
  { guests: ['long'], test: 'gp: a non-canonical LSTAR', ours: '#d(0) at +f cs 10 flags 0 ax 0', why: MSRS },
  {
    guests: ['long'],
    test: 'int: from level 3 through a gate of level 0',
    ours: '#d(202) at +12 cs 33 flags 0 ax 0',
    why: IDT_ERROR,
  },
  {
    guests: ['long'],
    test: 'int: through a gate that is absent',
    ours: '#b(202) at +8 cs 10 flags 0 ax 0',
    why: IDT_ERROR,
  },
  { guests: ['long'], test: 'int: beyond the IDT', ours: '#d(202) at +15 cs 10 flags 0 ax 0', why: IDT_ERROR },
  { guests: ['long'], test: 'int: a gate of the wrong type', ours: '#d(202) at +8 cs 10 flags 0 ax 0', why: IDT_ERROR },
  {
    guests: ['long'],
    test: 'np: ud without its gate comes in turn',
    ours: '#d(33) at +8 cs 10 flags 0 ax 0',
    why: IDT_ERROR,
  },
  {
    guests: ['long'],
    test: 'iret: to a non-canonical RIP',
    ours: '#d(0) at +16 cs 10 flags 0 ax 800000000000',
    why: CANONICAL_BRANCH,
  },
  { guests: ['long'], test: 'compat: a limit is checked', ours: '#d(0) at +33 cs 23 flags 0 ax 2b', why: LIMITS },
  {
    guests: ['long'],
    test: 'syscall: masks flags',
    ours: 'done ax 47',
    why: 'SYSCALL clears what SFMASK names; QEMU loses the arithmetic flags, too',
  },
  {
    guests: ['long'],
    test: 'sysret: to 64-bit code',
    ours: '#80 at +1d cs 33 flags 0 ax 330028',
    why: 'AMD64 Manual Vol. 3, SYSRET: SS is the field plus 8, RPL as it is; QEMU sets RPL 3',
  },
  {
    guests: ['long'],
    test: 'db: debug registers under GD',
    ours: '#1 at +9 cs 10 flags 0 dr6 2000 ax 0',
    why: 'SDM Vol. 3, 17.2.4; QEMU has no general detect',
  },
  {
    guests: ['long'],
    test: 'db: int1',
    ours: '#1 at +1 cs 10 flags 0 dr6 0 ax 0',
    why: 'SDM Vol. 2, INT1; QEMU does not know it',
  },
  {
    guests: ['long'],
    test: 'ac: a misaligned access at level 3',
    ours: '#11(0) at +28 cs 33 flags 40000 ax 0',
    why: 'QEMU has no alignment checks; SDM Vol. 3, 6.15',
  },
];
