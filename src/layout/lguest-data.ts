/** lguest_data: the page that an lguest guest and its host share, and one slot of the ring of hypercalls in it.
 *
 * Both sides write to it while the guest runs: `irq_enabled` is the guest's interrupt flag, a store instead of CLI and
 * STI; `hcall_status` and `hcalls` are a ring of calls that the host carries out when it next gets control. The guest
 * names the page once, in LHCALL_LGUEST_INIT, having filled the four fields that are its own.
 *
 * Interfaces inside one kernel may change with it, and this one did: four layouts exist. This is the one of late
 * mainline kernels (4.x): a 32-bit timespec, `noirq_iret`, slots of five words. The others are the same with a 64-bit
 * timespec (a fork prepared for the year 2038; everything behind `time` four bytes on), the one of 2.6.3x to 3.x with
 * `noirq_start` and `noirq_end` in place of `noirq_iret`, and the one of about 2.6.25 to 2.6.30 with slots of four words
 * and a `pgdir` behind `tsc_khz`. A guest of another layout is told by where its 64 status bytes of 0xff begin.
 * Follows: Linux include/linux/lguest.h, arch/x86/include/asm/lguest_hcall.h (4.1).   Next: layout/multiboot.ts. */
import { array, nested, struct, u8, u32, type ValuesOf } from './struct.ts';

const from = 'linux/include/linux/lguest.h';

/** Slots of the ring. */
export const LHCALL_RING_SIZE = 64;
/** hcall_status: the host has carried the slot's call out, or nobody has ever filled it. */
export const HCALL_DONE = 0xff;
/** hcall_status: the slot waits for the host. */
export const HCALL_PENDING = 0;

/** A hypercall as the ring holds it; `arg0` is its number. In a direct call: EAX, EBX, ECX, EDX, ESI. */
export const HcallArgs = struct('hcall_args', { from: 'linux/arch/x86/include/asm/lguest_hcall.h', size: 20 }, {
  arg0: u32(0, 'LHCALL_*'),
  arg1: u32(4),
  arg2: u32(8),
  arg3: u32(12),
  arg4: u32(16),
}); // biome-ignore format: a table
export type HcallArgsValues = ValuesOf<typeof HcallArgs>;

/** Nested, since C gives it a name of its own. */
export const Timespec32 = struct('lguest_timespec', { from, size: 8 }, {
  tv_sec:  u32(0, 'seconds since 1970'),
  tv_nsec: u32(4),
}); // biome-ignore format: a table

export const LguestData = struct('lguest_data', { from, size: 0x56c }, {
  irq_enabled:        u32(0x000, '0x200 (EFLAGS.IF) or 0; the guest writes it, the host clears and sets it too'),
  blocked_interrupts: u32(0x004, 'bitmap of 32 interrupts; the guest writes it'),
  cr2:                u32(0x008, 'address of the last page fault; the host writes it'),
  time:               nested(0x00c, Timespec32, 'wall clock at the last interrupt; the host writes it'),
  irq_pending:        u32(0x014, '0x200: an interrupt waits for irq_enabled; the host writes it'),
  hcall_status:       array(0x018, (offset) => u8(offset), LHCALL_RING_SIZE, '0xff free or done, 0 pending'),
  hcalls:             array(0x058, (offset) => nested(offset, HcallArgs), LHCALL_RING_SIZE),
  reserve_mem:        u32(0x558, 'bytes at the top of virtual memory that are the host\'s; the host writes it'),
  tsc_khz:            u32(0x55c, '0: the TSC is of no use; the host writes it'),
  noirq_iret:         u32(0x560, 'address of the one IRET that is never to be interrupted; the guest writes it'),
  kernel_address:     u32(0x564, 'PAGE_OFFSET; the guest writes it'),
  syscall_vec:        u32(0x568, '0x80; the guest writes it'),
}); // biome-ignore format: a table
export type LguestDataValues = ValuesOf<typeof LguestData>;
