/** The boots that `bench boot` compares: one for each entry path of a kernel, and QEMU's beside them.
 *
 * A path is planned once here, so that whatever is wrong with the kernel, the initrd or the size of memory is said before
 * anything is measured. QEMU takes a bzImage as it is, like linux64 and linux32; for PVH it gets the ELF file inside, in
 * a file of its own, since its loader looks for the note only there.
 * May not: run anything.   Next: cli/timed-process.ts. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { VmError } from '../base/errors.ts';
import { parseSize } from '../base/numbers.ts';
import { BOOT_PROTOCOLS, type BootSpec, type EntryPath, planBoot } from '../boot/index.ts';
import { type ElfImage, isElf, type KernelImage } from '../image/kernel-image.ts';
import { QEMU } from './bench-peers.ts';
import { findGuest } from './guests.ts';
import { readInitrd, wantsInitramfs } from './initrd-file.ts';
import { parseFile, resolveKernel, unpackKernel } from './kernel-file.ts';
import { UsageError } from './options.ts';

/** What a stock kernel is measured through, unless asked otherwise. */
export const USUAL_PATHS: readonly EntryPath[] = ['linux64', 'linux32', 'pvh', 'xen-pvh'];

export const QEMU_BZIMAGE = 'QEMU, bzImage';
export const QEMU_PVH = 'QEMU, PVH';

export type BootRow = {
  /** "linux64, host unpacks". */
  name: string;
  /** The entry path; undefined for QEMU. */
  via: EntryPath | undefined;
  /** Arguments of `zeropage boot`, or QEMU's whole command line. */
  command: string[];
  /** The row of QEMU that this one is held beside. */
  beside: string | undefined;
};

export type RowOptions = {
  via?: string;
  unpack?: 'host' | 'guest';
  memory: string;
  initrd?: string;
  cmdline?: string;
  /** What ends a boot, as --expect takes it. */
  line?: string;
  /** Whether QEMU is there and wanted. */
  qemu: boolean;
};

type Opened = { path: string; image: KernelImage; unpacked: ElfImage | undefined; notUnpacked: VmError | undefined };

/** `folder` takes what has to be a file. The order is that of the table: QEMU's rows follow ours. */
export async function bootRows(kernel: string, options: RowOptions, folder: string): Promise<BootRow[]> {
  const opened = new Map<string, Opened>();
  const open = async (via: string): Promise<Opened> => {
    const { name, path, bytes } = await resolveKernel(kernel, via);
    const known = opened.get(path);
    if (known) return known;
    const image = parseFile(name, bytes, via);
    const made = { path, image, ...(await unpacked(image)) };
    opened.set(path, made);
    return made;
  };
  const initrd = new InitrdOnDisk(options.initrd, folder);
  const rows: BootRow[] = [];
  const peers = new Map<string, BootRow>();
  for (const via of choosePaths(options.via)) {
    const guest = findGuest(kernel);
    if (options.via === undefined && guest && !guest.images[via]) continue;
    const { path, image, unpacked: elf, notUnpacked } = await open(via);
    const verdict = BOOT_PROTOCOLS.find(({ name }) => name === via)?.accepts(image, elf);
    if (verdict !== true && options.via === undefined) continue;
    if (elf === undefined && notUnpacked && options.via !== undefined && via !== 'linux32' && via !== 'linux64')
      throw notUnpacked;
    const disk = await initrd.of(image, via);
    const spec: BootSpec = { via, memory: options.memory, cmdline: options.cmdline, initrd: disk?.bytes, unpackedKernel: elf }; // biome-ignore format: one line
    const qemu = options.qemu ? besideOf(via, image, path, elf, folder) : undefined;
    if (qemu && !peers.has(qemu.name)) {
      const command = qemuCommand(qemu.file, options.memory, disk?.path, options.cmdline);
      peers.set(qemu.name, { name: qemu.name, via: undefined, command, beside: undefined });
    }
    for (const unpack of whoUnpacks(via, image, elf, options.unpack)) {
      if (unpack === 'host' && notUnpacked) throw notUnpacked;
      planBoot(image, { ...spec, unpack });
      const command = ['boot', kernel, '--via', via, '--memory', options.memory, '--log-level', 'error'];
      if (unpack) command.push('--unpack', unpack);
      if (disk) command.push('--initrd', disk.path);
      if (options.cmdline !== undefined) command.push('--cmdline', options.cmdline);
      if (options.line !== undefined) command.push('--expect', options.line);
      rows.push({ name: unpack === 'host' ? `${via}, host unpacks` : via, via, command, beside: qemu?.name });
    }
  }
  if (rows.length === 0) planBoot((await open('auto')).image); // throws: it supports no path, and says why
  if (rows.length === 0) throw noUsualPath(kernel);
  return [...rows, ...peers.values()];
}

function choosePaths(via: string | undefined): readonly EntryPath[] {
  if (via === undefined) return USUAL_PATHS;
  const all = BOOT_PROTOCOLS.map(({ name }) => name);
  const asked = [...new Set(via.split(',').map((name) => name.trim()))];
  const unknown = asked.find((name) => !(all as string[]).includes(name));
  if (unknown === undefined) return asked as EntryPath[];
  throw new UsageError({
    what: `there is no entry path ${JSON.stringify(unknown)}`,
    where: `--via ${via}`,
    why: `there are: ${all.join(', ')}`,
    fix: 'give one or several of these, with commas between',
  });
}

/** A payload that the host cannot unpack may still be one that the guest can. */
async function unpacked(image: KernelImage): Promise<Pick<Opened, 'unpacked' | 'notUnpacked'>> {
  if (image.format !== 'bzimage') return { unpacked: undefined, notUnpacked: undefined };
  try {
    return { unpacked: await unpackKernel(image), notUnpacked: undefined };
  } catch (error) {
    if (error instanceof VmError) return { unpacked: undefined, notUnpacked: error };
    throw error;
  }
}

/** linux64 comes twice where both the guest and the host can unpack; nowhere else is there a choice. */
function whoUnpacks(
  via: EntryPath,
  image: KernelImage,
  elf: ElfImage | undefined,
  asked: 'host' | 'guest' | undefined,
): ('host' | 'guest' | undefined)[] {
  if (via !== 'linux64' || image.format !== 'bzimage') return [undefined];
  if (asked !== undefined) return [asked];
  return elf ? ['guest', 'host'] : ['guest'];
}

function besideOf(
  via: EntryPath,
  image: KernelImage,
  path: string,
  elf: ElfImage | undefined,
  folder: string,
): { name: string; file: string } | undefined {
  if ((via === 'linux64' || via === 'linux32') && image.format === 'bzimage') return { name: QEMU_BZIMAGE, file: path };
  if (via !== 'pvh' && via !== 'xen-pvh') return undefined;
  if (isElf(image) && !image.unpackedFrom) return { name: QEMU_PVH, file: path };
  if (!elf) return undefined;
  const file = join(folder, 'vmlinux');
  if (!existsSync(file)) writeFileSync(file, elf.bytes); // pvh and xen-pvh share it
  return { name: QEMU_PVH, file };
}

/** Devices that nobody asked for cost time to look for, so there are none but the serial line and the debug exit that
 * the built-in guests end with. biome-ignore format: options that belong together stand together */
function qemuCommand(
  kernel: string,
  memory: string,
  initrd: string | undefined,
  cmdline: string | undefined,
): string[] {
  return [
    QEMU, '-accel', 'tcg,thread=single', '-smp', '1', '-M', 'pc', '-m', `${parseSize(memory, '--memory') / 1024}k`,
    '-nodefaults', '-display', 'none', '-vga', 'none', '-serial', 'stdio', '-monitor', 'none', '-no-reboot',
    '-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04', '-kernel', kernel,
    ...(initrd === undefined ? [] : ['-initrd', initrd]),
    ...(cmdline === undefined ? [] : ['-append', cmdline]),
  ]; // biome-ignore format: options that belong together stand together
}

/** A folder is packed once, so that no boot has to. */
class InitrdOnDisk {
  readonly #given: string | undefined;
  readonly #folder: string;
  #read: { bytes: Uint8Array; path: string } | undefined;

  constructor(given: string | undefined, folder: string) {
    this.#given = given;
    this.#folder = folder;
  }

  async of(image: KernelImage, via: EntryPath): Promise<{ bytes: Uint8Array; path: string } | undefined> {
    if (this.#given === undefined) return undefined;
    if (!this.#read) {
      const { bytes, notes } = await readInitrd(this.#given, wantsInitramfs(image, via));
      const packed = notes.length > 0;
      const path = packed ? join(this.#folder, 'initrd.cpio') : this.#given;
      if (packed) writeFileSync(path, bytes);
      this.#read = { bytes, path };
    }
    return this.#read;
  }
}

function noUsualPath(kernel: string): UsageError {
  return new UsageError({
    what: `${kernel} supports none of the paths that are measured by default`,
    where: kernel,
    why: `these are ${USUAL_PATHS.join(', ')}`,
    fix: 'name a path that it supports, as zeropage inspect lists them, with --via',
  });
}
