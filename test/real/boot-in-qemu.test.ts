/** The same kernel, initrd and command line in QEMU and here: the two logs, line by line, without their timestamps.
 *
 * QEMU's `isapc` with a small AMD CPU is the machine nearest to ours: no ACPI, no PCI, no local APIC. What its firmware
 * and its few other devices make the kernel say is in a table, each line with its reason; all others are the same and in
 * the same order. Runs where QEMU is installed, with ZEROPAGE_ALL_BOOTS=1. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { scratch } from '../cli/run.ts';
import { bootReal } from './boots.ts';
import { haveReal, realPath } from './files.ts';
import { INIT, initrdWith, SAYS } from './init-program.ts';

const KERNEL = 'vmlinuz-cloud-amd64';
const QEMU = 'qemu-system-x86_64';
const OUR_CPU =
  'qemu64,vendor=AuthenticAMD,family=15,model=107,stepping=1,-apic,-hypervisor,-x2apic,-pni,-cx16,-popcnt,-lahf-lm,-svm,' +
  '-mca,-mce,-mtrr,-pat,-pse36,-clflush,-de,-sep,-vme,-cmp-legacy,-abm,-sse4a,-3dnowprefetch,-mmxext,-3dnow,-3dnowext,-rdtscp';

/** Lines that differ, or that one of the two has alone, and why. */
const DIFFERENT: readonly (readonly [RegExp, string])[] = [
  [/^BIOS-e820: /, 'SeaBIOS reserves its data area below 640 KiB, its ROM and the top of the address space; nothing is reserved here'],
  [/^(SMBIOS |DMI)/, 'SeaBIOS has tables for DMI; here is no firmware'],
  [/^ {2}node {3}0: \[mem 0x0000000000001000-/, 'the kilobyte of the BIOS data area costs a page'],
  [/^On node 0, zone DMA: 9\d pages in unavailable ranges$/, 'the same page'],
  [/^PM: hibernation: Registered nosave memory: \[mem 0x000[9a]/, 'the same page'],
  [/^\[mem 0x10000000-0xf.* available for PCI devices$/, 'the ROM below 4 GiB'],
  [/^Memory: /, 'the same page, 4 KiB'],
  [/^Console: colour /, "QEMU's boot loader claims a CGA text screen in screen_info; our zero page has none"],
  [/^Last level [id]TLB entries: /, 'QEMU has the CPUID leaves of AMD that give sizes of TLBs (0x80000005 and 6)'],
  [/^i8042: No controller found$/, 'no keyboard controller answers here'],
  [/^serio: i8042 |^input: AT /, "QEMU's keyboard and mouse"],
  [/^sched_clock: Marking stable /, 'times, by microseconds'],
]; // biome-ignore format: a table

const comparable = (log: string) =>
  log
    .replaceAll('\r', '')
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/^\[ *\d+\.\d+\] /, ''))
    .filter((line) => !DIFFERENT.some(([pattern]) => pattern.test(line)));

/** The console of QEMU up to the kernel's last word; it then halts for good, and we end it. */
function inQemu(initrd: Uint8Array): Promise<string> {
  const folder = scratch();
  const [log, archive] = [join(folder, 'log'), join(folder, 'initrd')];
  writeFileSync(archive, initrd);
  const machine = ['-M', 'isapc', '-cpu', OUR_CPU, '-accel', 'tcg', '-icount', 'shift=0,sleep=off', '-m', '256'];
  const outside = ['-rtc', 'base=2025-01-01T00:00:00,clock=vm', '-display', 'none', '-nodefaults', '-no-reboot'];
  const guest = ['-kernel', realPath(KERNEL), '-initrd', archive, '-append', 'console=ttyS0'];
  const qemu = spawn(QEMU, [...machine, ...outside, '-serial', `file:${log}`, ...guest], { stdio: 'ignore' });
  return new Promise((resolve, reject) => {
    const printed = () => (existsSync(log) ? readFileSync(log, 'latin1') : '');
    const look = setInterval(() => {
      if (printed().includes('reboot: System halted\r\n')) qemu.kill();
    }, 200);
    const tooLong = setTimeout(() => qemu.kill(), 150_000);
    qemu.on('error', reject);
    qemu.on('close', () => {
      clearInterval(look);
      clearTimeout(tooLong);
      resolve(printed());
    });
  });
}

const here = spawnSync(QEMU, ['--version']).status === 0;
const why = !here ? 'QEMU is not installed' : !haveReal(KERNEL) ? `${KERNEL} is not there` : !process.env.ZEROPAGE_ALL_BOOTS ? 'ZEROPAGE_ALL_BOOTS=1 runs it' : undefined; // biome-ignore format: one line
if (why) console.log(`skipped: a Debian kernel's log beside QEMU's (${why})`);

describe.skipIf(why !== undefined)("a Debian kernel's log", { timeout: 300_000 }, () => {
  it("is QEMU's but for the lines that have a reason", async () => {
    const initrd = initrdWith(INIT.powerOff);
    const theirs = await inQemu(initrd);
    const { console: ours } = await bootReal(KERNEL, { via: 'linux64', cmdline: 'console=ttyS0', initrd });
    expect(comparable(ours).at(-2)).toBe(SAYS);
    expect(comparable(ours)).toEqual(comparable(theirs));
    expect(comparable(ours).length).toBeGreaterThan(190);
  });
});
