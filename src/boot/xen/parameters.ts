/** What a kernel asks of Xen's domain builder: its notes, read and judged as libelf does.
 *
 * Notes come from PT_NOTE segments; when no Xen note is in them, from SHT_NOTE sections; when there are none either, from
 * the text of a section `__xen_guest`, which kernels had before notes. Types that nobody knows are passed over. Names of
 * features decide nothing for a 64-bit guest unless one is required that libelf does not know, or dom0.
 * We are stricter in one thing: a number whose descriptor has another size than 4 or 8 bytes is refused; libelf reads 0.
 * Follows: Xen xen/common/libelf/libelf-dominfo.c.
 * May not: know how much memory the domain has.   Next: boot/xen/domain-layout.ts. */
import { hex } from '../../base/numbers.ts';
import { readNotes } from '../../image/elf-notes.ts';
import type { ElfImage, ElfNote } from '../../image/kernel-image.ts';
import { EM_386, EM_X86_64, PT_LOAD } from '../../layout/elf.ts';
import { latin1 } from '../../layout/struct.ts';
import { XEN_AREA } from '../../layout/xen/addresses.ts';
import { XEN_ELFNOTE, XEN_FEATURES, XEN_NOTES } from '../../layout/xen-notes.ts';
import type { Refusal } from '../plan.ts';

export type XenParameters = {
  guestOs: string;
  guestVersion: string;
  /** Virtual address of the first instruction. */
  entry: bigint;
  /** Virtual address of frame 0. */
  virtBase: bigint;
  /** Subtracted from p_paddr on the way to a guest frame. */
  paddrOffset: bigint;
  /** Virtual range of the loaded segments. */
  kernelStart: bigint;
  kernelEnd: bigint;
  /** Virtual address of the page that Xen fills with hypercall stubs. */
  hypercallPage?: bigint;
  /** Where the first p2m is to be mapped; without it, it lies behind the kernel. */
  p2mBase?: bigint;
  /** The initrd may lie outside of the initial mapping. */
  initrdUnmapped: boolean;
  pae: 'no' | 'yes' | 'bimodal';
  /** Bits of XEN_FEATURES. */
  required: number;
  supported: number;
};

/** Feature names that libelf recognises in a text. */
const NAMED_FEATURES = [0, 1, 2, 3, 4, 8, 11];
const DOM0 = 1 << 11;
const WORD = 64;

export function xenParameters(kernel: ElfImage): XenParameters | Refusal {
  const found = findNotes(kernel);
  if ('why' in found) return found;
  const { notes, isLegacy } = found;
  const unreadable = notes.find(({ oddWidth }) => oddWidth !== undefined);
  if (unreadable) {
    const { type, where, oddWidth } = unreadable;
    return no(
      `${named(type)} ${where} is a number of ${oddWidth} bytes; libelf reads 4 or 8`,
      'write it with .long or .quad',
    );
  }
  const text = (type: number) => notes.findLast((note) => note.type === type)?.text ?? '';
  const number = (type: number) => notes.findLast((note) => note.type === type)?.number;

  const features = parseFeatures(notes.filter(({ type }) => type === XEN_ELFNOTE.FEATURES));
  if ('why' in features) return features;
  const guestOs = text(XEN_ELFNOTE.GUEST_OS);
  const loader = text(XEN_ELFNOTE.LOADER);
  const version = text(XEN_ELFNOTE.XEN_VERSION);
  if (!loader.startsWith('generic') && !guestOs.startsWith('linux')) {
    const why = `${named(XEN_ELFNOTE.LOADER)} is ${quoted(loader)}, not "generic", and ${named(XEN_ELFNOTE.GUEST_OS)} is ${quoted(guestOs)}, not "linux"`;
    return no(why, 'add the note: LOADER "generic"');
  }
  if (!version.startsWith('xen-3.0')) {
    const fix = 'build the kernel with CONFIG_XEN_PV=y, or add the note: XEN_VERSION "xen-3.0"';
    return no(`${named(XEN_ELFNOTE.XEN_VERSION)} is ${quoted(version)}; a PV kernel says "xen-3.0"`, fix);
  }
  if (features.required & DOM0) {
    return no(`${named(XEN_ELFNOTE.FEATURES)} requires dom0, and the guest is an ordinary domain`, 'use a kernel that also runs as domU'); // biome-ignore format: one line
  }

  const base = number(XEN_ELFNOTE.VIRT_BASE);
  const offset = number(XEN_ELFNOTE.PADDR_OFFSET);
  if (offset !== undefined && base === undefined) {
    return no(`${named(XEN_ELFNOTE.PADDR_OFFSET)} is ${hex(offset)}, and there is no ${named(XEN_ELFNOTE.VIRT_BASE)}`, 'add VIRT_BASE, or take PADDR_OFFSET out'); // biome-ignore format: one line
  }
  const virtBase = base ?? 0n;
  // Before there were notes, p_paddr held virtual addresses.
  const paddrOffset = offset ?? (isLegacy ? virtBase : 0n);
  const range = loadRange(kernel);
  const toVirtual = (physical: bigint) => BigInt.asUintN(WORD, physical + virtBase - paddrOffset);
  const p2mBase = number(XEN_ELFNOTE.INIT_P2M);
  const page = number(XEN_ELFNOTE.HYPERCALL_PAGE);
  const parameters: XenParameters = {
    guestOs,
    guestVersion: text(XEN_ELFNOTE.GUEST_VERSION),
    entry: number(XEN_ELFNOTE.ENTRY) ?? kernel.entry,
    virtBase,
    paddrOffset,
    kernelStart: toVirtual(range.start),
    kernelEnd: toVirtual(range.end),
    hypercallPage: page === undefined || !isLegacy ? page : BigInt.asUintN(WORD, (page << 12n) + virtBase),
    p2mBase,
    initrdUnmapped: (number(XEN_ELFNOTE.MOD_START_PFN) ?? 0n) !== 0n,
    pae: paeMode(text(XEN_ELFNOTE.PAE_MODE)),
    required: features.required,
    supported: features.supported | Number(BigInt.asUintN(32, number(XEN_ELFNOTE.SUPPORTED_FEATURES) ?? 0n)),
  };
  return checkAddresses(kernel, parameters) ?? (servesP2m(kernel, parameters) ? parameters : { ...parameters, p2mBase: undefined }); // biome-ignore format: one line
}

/** The builder passes over an INIT_P2M that it cannot serve. */
const servesP2m = ({ machine }: ElfImage, { p2mBase, virtBase }: XenParameters): boolean =>
  machine === EM_X86_64 && p2mBase !== undefined && p2mBase < virtBase && p2mBase % 0x1000n === 0n;

/** libelf's own checks, then those that Xen would make when it pins the first tables and starts the CPU. */
function checkAddresses(kernel: ElfImage, parameters: XenParameters): Refusal | undefined {
  const { entry, virtBase, kernelStart, kernelEnd, p2mBase } = parameters;
  const loaded = `[${hex(kernelStart)}, ${hex(kernelEnd)})`;
  const relink = 'make VIRT_BASE, PADDR_OFFSET and the load addresses agree; readelf -lnW shows them';
  if (kernelStart > kernelEnd) return no(`its segments would lie at ${loaded}, around the end of the address space`, relink); // biome-ignore format: one line
  if (entry < kernelStart || entry > kernelEnd) {
    return no(`its entry ${hex(entry)} lies outside of its segments at ${loaded}`, `${relink}, and ENTRY too`);
  }
  if (virtBase > kernelStart) return no(`${named(XEN_ELFNOTE.VIRT_BASE)} ${hex(virtBase)} lies above its segments at ${loaded}`, relink); // biome-ignore format: one line
  if (kernelStart % 0x1000n !== 0n) {
    return no(
      `its segments would begin at ${hex(kernelStart)}, inside a page`,
      'link its first segment to a page boundary',
    );
  }
  if (p2mBase !== undefined && p2mBase >= kernelStart && p2mBase < kernelEnd) {
    return no(`${named(XEN_ELFNOTE.INIT_P2M)} ${hex(p2mBase)} lies within its segments at ${loaded}`, 'choose an address that nothing else has'); // biome-ignore format: one line
  }
  if (kernel.machine === EM_386) return undefined;
  const mapped = servesP2m(kernel, parameters) ? p2mBase : undefined;
  for (const [what, at] of [
    ['its segments', virtBase],
    ['its p2m', mapped ?? 0n],
  ] as const) {
    if (at >= 1n << 47n && at < XEN_AREA.end) return no(`${what} would be mapped from ${hex(at)} on, where ${at < XEN_AREA.start ? 'no address is canonical' : 'Xen itself is'}`, 'choose an address below 0x800000000000 or from 0xffff880000000000 on'); // biome-ignore format: one line
  }
  return undefined;
}

type XenNote = { type: number; text?: string; number?: bigint; where: string; oddWidth?: number };

function findNotes(kernel: ElfImage): { notes: XenNote[]; isLegacy: boolean } | Refusal {
  const isXen = ({ owner }: ElfNote) => owner === 'Xen';
  let notes = kernel.notes.filter(isXen);
  if (notes.length === 0) notes = readNotes(kernel.bytes, [], kernel.sections, []).filter(isXen);
  if (notes.length > 0) return { notes: notes.map(decoded), isLegacy: false };
  const legacy = kernel.sections.find(({ name }) => name === '__xen_guest');
  if (legacy && legacy.offset + legacy.size <= kernel.bytes.length) {
    return {
      notes: legacyNotes(latin1(kernel.bytes.subarray(legacy.offset, legacy.offset + legacy.size))),
      isLegacy: true,
    };
  }
  const others = kernel.notes.length;
  return no(
    `it has no note named "Xen" and no section __xen_guest; ${others} other note${others === 1 ? ' was' : 's were'} read`,
    'build the kernel with CONFIG_XEN_PV=y',
  );
}

function decoded({ type, desc, fileOffset }: ElfNote): XenNote {
  const where = `at file offset ${hex(fileOffset)}`;
  const kind = XEN_NOTES.find((row) => row.type === type)?.kind;
  if (kind === 'string') return { type, where, text: latin1(desc) };
  if (kind !== 'number') return { type, where };
  if (desc.length !== 4 && desc.length !== 8) return { type, where, oddWidth: desc.length };
  const view = new DataView(desc.buffer, desc.byteOffset, desc.length);
  return { type, where, number: desc.length === 8 ? view.getBigUint64(0, true) : BigInt(view.getUint32(0, true)) };
}

/** Keys of `__xen_guest` and the notes that took their place. */
const LEGACY_KEYS: Record<string, number> = {
  LOADER: XEN_ELFNOTE.LOADER, GUEST_OS: XEN_ELFNOTE.GUEST_OS, GUEST_VER: XEN_ELFNOTE.GUEST_VERSION,
  XEN_VER: XEN_ELFNOTE.XEN_VERSION, PAE: XEN_ELFNOTE.PAE_MODE, FEATURES: XEN_ELFNOTE.FEATURES,
  BSD_SYMTAB: XEN_ELFNOTE.BSD_SYMTAB, VIRT_BASE: XEN_ELFNOTE.VIRT_BASE, VIRT_ENTRY: XEN_ELFNOTE.ENTRY,
  ELF_PADDR_OFFSET: XEN_ELFNOTE.PADDR_OFFSET, HYPERCALL_PAGE: XEN_ELFNOTE.HYPERCALL_PAGE,
}; // biome-ignore format: a table

/** KEY=VALUE pairs with commas between them. A value that should be a number and is none reads as 0, as strtoull has it. */
function legacyNotes(text: string): XenNote[] {
  return text.split(',').flatMap((pair): XenNote[] => {
    const [key, ...rest] = pair.trim().split('=');
    const type = LEGACY_KEYS[key];
    if (type === undefined) return [];
    const value = rest.join('=');
    const where = `in section __xen_guest (${key})`;
    const isNumber = XEN_NOTES.find((row) => row.type === type)?.kind === 'number';
    if (!isNumber) return [{ type, where, text: value }];
    const digits = /^(0x[0-9a-f]{1,16}|[0-9]{1,20})/i.exec(value)?.[0] ?? '0';
    return [{ type, where, number: BigInt.asUintN(WORD, BigInt(digits)) }];
  });
}

function parseFeatures(notes: readonly XenNote[]): { required: number; supported: number } | Refusal {
  let [required, supported] = [0, 0];
  for (const { text = '', where } of notes) {
    for (const name of text.split('|')) {
      const isRequired = name.startsWith('!');
      const bit = NAMED_FEATURES.find((feature) => XEN_FEATURES[feature] === (isRequired ? name.slice(1) : name));
      if (bit !== undefined) {
        supported |= 1 << bit;
        if (isRequired) required |= 1 << bit;
      } else if (isRequired) {
        const known = NAMED_FEATURES.map((feature) => XEN_FEATURES[feature]).join(', ');
        return no(`${named(XEN_ELFNOTE.FEATURES)} ${where} requires ${quoted(name.slice(1, 33))}, which libelf does not know`, `take the ! away, or use one of ${known}`); // biome-ignore format: one line
      }
    }
  }
  return { required, supported };
}

const paeMode = (text: string) => (text.includes('bimodal') ? 'bimodal' : text.startsWith('yes') ? 'yes' : 'no');

/** Physical range of all that is loaded. p_vaddr plays no part: Linux has 0 there for its per-CPU segment. */
function loadRange({ segments }: ElfImage): { start: bigint; end: bigint } {
  const loaded = segments.filter(({ type, memsz }) => type === PT_LOAD && memsz > 0);
  const starts = loaded.map(({ paddr }) => paddr);
  const ends = loaded.map(({ paddr, memsz }) => paddr + BigInt(memsz));
  return {
    start: starts.reduce((least, at) => (at < least ? at : least)),
    end: ends.reduce((most, at) => (at > most ? at : most)),
  };
}

/** "XEN_ELFNOTE_ENTRY (1)" */
const named = (type: number) => `${XEN_NOTES.find((row) => row.type === type)?.name} (${type})`;
const quoted = (text: string) => (text === '' ? 'absent' : JSON.stringify(text));
const no = (why: string, fix: string): Refusal => ({ why, fix });
