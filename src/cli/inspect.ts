/** `inspect`: what a kernel file is, without running anything.
 *
 * Collects everything into one JSON-able value (`inspectKernel`) and prints it; `--json` prints the value itself. What a
 * damaged payload leaves readable is shown all the same, and the error follows.
 * May not: start a machine.   Next: cli/inspect-initrd.ts. */
import { createHash } from 'node:crypto';
import type { Command } from 'commander';
import { ImageError } from '../base/errors.ts';
import { hex } from '../base/numbers.ts';
import { entryPaths, UNBUILT_PATHS } from '../boot/index.ts';
import { protocolName } from '../image/bzimage.ts';
import { type BzImage, type ElfImage, type ElfNote, isElf, type KernelImage } from '../image/kernel-image.ts';
import { unpackKernel } from '../image/unpack-kernel.ts';
import { judgeXenPath } from '../image/xen-entry.ts';
import { ELF_MACHINES, ELF_TYPES, SEGMENT_TYPES } from '../layout/elf.ts';
import { MULTIBOOT_AOUT_KLUDGE, MULTIBOOT_VIDEO_MODE, MultibootHeader } from '../layout/multiboot.ts';
import { HDRS_MAGIC, PROTOCOLS, SetupHeader } from '../layout/setup-header.ts';
import { XEN_ELFNOTE, XEN_FEATURES, XEN_NOTES } from '../layout/xen-notes.ts';
import { snapshotFacts } from '../machine/snapshot.ts';
import { looksLikeSnapshot } from '../machine/snapshot-file.ts';
import { readSymtab } from '../symbols/symtab.ts';
import { nodeUnpackers } from './host.ts';
import { asInitrd, type InitrdInspection, initrdText } from './inspect-initrd.ts';
import { inspectionText } from './inspect-text.ts';
import { parseFile, resolveKernel } from './kernel-file.ts';
import { FdOutput } from './output.ts';
import { snapshotJson, snapshotText } from './snapshot.ts';
import { bytesSource, nodeSnapshotHost } from './snapshot-host.ts';
import { COLOURED, PLAIN } from './text-table.ts';

/** Everything `--json` prints. Numbers that are addresses, offsets or header values are hex strings; sizes are numbers. */
export type Inspection = {
  schema: 1;
  image: {
    name: string;
    path: string;
    size: number;
    sha256: string;
    format: KernelImage['format'];
    versionString?: string;
  };
  warnings: string[];
  bootProtocol?: BootProtocolFacts;
  setupHeader?: { offset: string; name: string; value: string; meaning: string; since: string }[];
  layout?: { what: string; offset: string; length: number; note: string }[];
  payload?: {
    offset: string;
    length: number;
    compression: string;
    uncompressedSize: number;
    unpackedSize?: number;
    error?: string;
  };
  elf?: ElfFacts;
  multiboot?: { offset: string; fields: { offset: string; name: string; value: string; meaning: string }[] };
  /** `carried`: the image has what the path needs; `supported`: and this version boots it. */
  entryPaths: { via: string; supported: boolean; carried: boolean; built: boolean; why?: string; fix?: string }[];
};

/** What the tool parse-bzimage shows: magic and version as Xen and QEMU look at them, and the offsets that matter. */
type BootProtocolFacts = {
  version: string;
  value: string;
  magic: { onImage: string; xenExpects: string; qemuExpects: string; match: boolean };
  xenMinimum: { version: string; value: string; met: boolean };
  protocols: { version: string; value: string; adds: string; has: boolean }[];
  offsets: { field: string; offset: string; expected?: string; match?: boolean }[];
};

type ElfFacts = {
  name: string;
  unpackedFrom?: string;
  class: 32 | 64;
  type: string;
  machine: string;
  entry: string;
  size: number;
  segments: {
    index: number;
    type: string;
    flags: string;
    offset: string;
    vaddr: string;
    paddr: string;
    filesz: string;
    memsz: string;
  }[];
  sections: number;
  symbols: number;
  notes: {
    offset: string;
    owner: string;
    type: number;
    name?: string;
    value: string;
    meaning?: string;
    truncated?: true;
  }[];
  warnings: string[];
};

export function addInspect(program: Command): void {
  program
    .command('inspect')
    .description('what a kernel file is: header, protocol, payload, notes, and which entry paths it supports')
    .argument('[kernel]', 'a kernel file, an initial RAM disk, or the name of a built-in guest', 'tiny')
    .option('--json', 'for machines')
    .action(async (kernel: string, { json }: { json?: boolean }) => {
      const { name, path, bytes } = await resolveKernel(kernel);
      if (looksLikeSnapshot(bytes)) {
        const facts = snapshotFacts(bytesSource(name, bytes), nodeSnapshotHost);
        new FdOutput(1).write(
          json ? `${snapshotJson(facts, path, bytes.length)}\n` : snapshotText(facts, name, bytes.length),
        );
        return;
      }
      const terminal = process.stdout.isTTY === true;
      const width = Math.min(Math.max((terminal && process.stdout.columns) || 100, 80), 120);
      const style = terminal && !process.env.NO_COLOR ? COLOURED : PLAIN;
      const initrd = asInitrd(name, bytes);
      const image = initrd?.certain ? undefined : parsedUnless(initrd !== undefined, name, bytes);
      if (initrd && !image) {
        const value: InitrdInspection = {
          schema: 1,
          initrd: { path, size: bytes.length, sha256: sha256(bytes), ...initrd.facts },
        };
        new FdOutput(1).write(json ? `${JSON.stringify(value, null, 2)}\n` : initrdText(value, width, style));
        return;
      }
      const { inspection, damage } = inspectKernel(image as KernelImage, path);
      new FdOutput(1).write(
        json ? `${JSON.stringify(inspection, null, 2)}\n` : inspectionText(inspection, width, style),
      );
      if (damage) throw damage;
    });
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** The kernel; with `lenient`, undefined for what is none, since it can be something else. */
function parsedUnless(lenient: boolean, name: string, bytes: Uint8Array): KernelImage | undefined {
  try {
    const image = parseFile(name, bytes);
    return lenient && image.format === 'flat' ? undefined : image;
  } catch (error) {
    if (lenient && error instanceof ImageError) return undefined;
    throw error;
  }
}

/** `damage` is the error of a payload that could not be unpacked. */
export function inspectKernel(image: KernelImage, path = image.name): { inspection: Inspection; damage?: ImageError } {
  const { name, bytes, format, warnings } = image;
  const bz = image.format === 'bzimage' ? image : undefined;
  const { kernel, damage } = bz ? innerKernel(bz) : { kernel: isElf(image) ? image : undefined, damage: undefined };
  const inspection: Inspection = {
    schema: 1,
    image: {
      name, path, size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex'), format, versionString: bz?.kernelVersion,
    },
    warnings,
    ...(bz && bzImageFacts(bz)),
    ...(bz?.payload && {
      payload: {
        offset: hex(bz.payload.offset), length: bz.payload.bytes.length, compression: bz.payload.compression,
        uncompressedSize: bz.payload.uncompressedSize, unpackedSize: kernel?.bytes.length, error: damage?.why,
      },
    }),
    elf: kernel && elfFacts(kernel),
    multiboot: multibootFacts(image),
    entryPaths: pathFacts(image, bz ? kernel : undefined, damage),
  }; // biome-ignore format: the order of the printed form
  return { inspection, damage };
}

function innerKernel(image: BzImage): { kernel?: ElfImage; damage?: ImageError } {
  if (!image.payload) return {};
  try {
    return { kernel: unpackKernel(image, nodeUnpackers) };
  } catch (error) {
    if (error instanceof ImageError) return { damage: error };
    throw error;
  }
}

function bzImageFacts(image: BzImage): Pick<Inspection, 'bootProtocol' | 'setupHeader' | 'layout'> {
  const {
    setupHeader,
    protocol,
    setupBytes,
    protectedModeOffset,
    protectedModeBytes,
    headerEnd,
    has64BitEntry,
    kernelInfo,
  } = image;
  const four = (value: number) => hex(value, 4);
  const offset = (field: keyof typeof SetupHeader.fields) => four(SetupHeader.offsetOf(field));
  const bytesAt = (at: number) =>
    `0x${[3, 2, 1, 0].map((i) => image.bytes[at + i].toString(16).padStart(2, '0')).join('')}`;
  const magic = bytesAt(SetupHeader.offsetOf('header'));
  return {
    bootProtocol: {
      version: protocolName(protocol),
      value: four(protocol),
      // Xen compares the four letters "HdrS", QEMU a little-endian word. They are the same four bytes.
      magic: {
        onImage: magic,
        xenExpects: hex(HDRS_MAGIC),
        qemuExpects: hex(HDRS_MAGIC),
        match: magic === hex(HDRS_MAGIC),
      },
      xenMinimum: { version: '2.08', value: '0x0208', met: protocol >= 0x208 },
      protocols: PROTOCOLS.map(({ version, adds }) => ({
        version: protocolName(version),
        value: four(version),
        adds,
        has: protocol >= version,
      })),
      offsets: [
        {
          field: 'loadflags',
          offset: offset('loadflags'),
          expected: '0x0211',
          match: offset('loadflags') === '0x0211',
        },
        { field: 'hardware_subarch', offset: offset('hardware_subarch') },
        { field: 'hardware_subarch_data', offset: offset('hardware_subarch_data') },
      ],
    },
    setupHeader: SetupHeader.print(setupHeader).map((row) => {
      const field = SetupHeader.fields[row.name as keyof typeof SetupHeader.fields];
      const since = field.meaning.since ?? 0;
      const absent = since > protocol || field.offset + field.size > headerEnd;
      return {
        offset: hex(row.offset, 3),
        name: row.name,
        value: absent ? '-' : row.value,
        meaning: absent ? `absent: since protocol ${protocolName(since)}` : row.meaning,
        since: since ? protocolName(since) : 'all',
      };
    }),
    layout: [
      {
        what: 'setup code',
        offset: '0x0',
        length: setupBytes.length,
        note: `16-bit; the header ends at ${hex(headerEnd)}`,
      },
      {
        what: 'protected-mode code',
        offset: hex(protectedModeOffset),
        length: protectedModeBytes.length,
        note: `32-bit entry at +0${has64BitEntry ? ', 64-bit entry at +0x200' : ''}; ${image.loadedHigh ? 'loads high (bzImage)' : 'loads low (zImage)'}`,
      },
      ...(kernelInfo
        ? [
            {
              what: 'kernel_info',
              offset: hex(protectedModeOffset + kernelInfo.offset),
              length: kernelInfo.sizeTotal,
              note: `setup_type_max ${hex(kernelInfo.setupTypeMax)}`,
            },
          ]
        : []),
    ],
  };
}

function elfFacts(kernel: ElfImage): ElfFacts {
  const letters = (flags: number) => `${flags & 4 ? 'R' : '-'}${flags & 2 ? 'W' : '-'}${flags & 1 ? 'X' : '-'}`;
  return {
    name: kernel.name,
    unpackedFrom: kernel.unpackedFrom && `${kernel.unpackedFrom.name} (${kernel.unpackedFrom.compression})`,
    class: kernel.format === 'elf64' ? 64 : 32,
    type: ELF_TYPES[kernel.type] ?? String(kernel.type),
    machine: ELF_MACHINES[kernel.machine] ?? String(kernel.machine),
    entry: hex(kernel.entry),
    size: kernel.bytes.length,
    segments: kernel.segments.map(({ index, type, flags, offset, vaddr, paddr, filesz, memsz }) => ({
      index, type: SEGMENT_TYPES[type] ?? hex(type), flags: letters(flags), offset: hex(offset), vaddr: hex(vaddr), paddr: hex(paddr),
      filesz: hex(filesz), memsz: hex(memsz),
    })), // biome-ignore format: the columns' order
    sections: kernel.sections.length,
    symbols: readSymtab(kernel).length,
    notes: kernel.notes.map(noteFacts),
    warnings: kernel.warnings,
  };
}

function noteFacts(note: ElfNote): ElfFacts['notes'][number] {
  const { owner, type, name, value, desc, fileOffset, truncated } = note;
  let text =
    typeof value === 'bigint'
      ? hex(value)
      : value === undefined
        ? Buffer.from(desc.subarray(0, 32)).toString('hex')
        : JSON.stringify(value);
  if (owner === 'Xen' && type === XEN_ELFNOTE.SUPPORTED_FEATURES && typeof value === 'bigint') {
    const names = Array.from({ length: 64 }, (_, bit) =>
      (value >> BigInt(bit)) & 1n ? (XEN_FEATURES[bit] ?? `bit ${bit}`) : '',
    );
    text += ` (${names.filter(Boolean).join(', ')})`;
  }
  const meaning = owner === 'Xen' ? XEN_NOTES.find((row) => row.type === type)?.meaning : undefined;
  return { offset: hex(fileOffset), owner, type, name, value: text, meaning, ...(truncated && { truncated }) };
}

function multibootFacts({ multiboot }: KernelImage): Inspection['multiboot'] {
  if (!multiboot) return undefined;
  const { offset, ...values } = multiboot;
  const shown = (at: number) =>
    at < 12 || (at < 32 ? (values.flags & MULTIBOOT_AOUT_KLUDGE) !== 0 : (values.flags & MULTIBOOT_VIDEO_MODE) !== 0);
  const rows = MultibootHeader.print(values).filter((row) => shown(row.offset));
  return { offset: hex(offset), fields: rows.map((row) => ({ ...row, offset: hex(row.offset + offset) })) };
}

/** From the most to the least that a loader does for a kernel. */
const PATH_ORDER = [
  'lguest',
  'linux32',
  'linux64',
  'pvh',
  'xen-pvh',
  'xen-pv',
  'xen-pv32',
  'multiboot',
  'flat32',
  'flat64',
];
/** Paths that are judged by what is inside a bzImage. */
const INSIDE = ['pvh', 'xen-pvh', 'xen-pv', 'xen-pv32'];

function pathFacts(
  image: KernelImage,
  unpacked: ElfImage | undefined,
  damage: ImageError | undefined,
): Inspection['entryPaths'] {
  const paths: Inspection['entryPaths'] = entryPaths(image, unpacked).map((path) => {
    const { via, supported } = path;
    return {
      via,
      supported,
      carried: supported,
      built: true,
      ...(!path.supported && { why: path.why, fix: path.fix }),
    };
  });
  for (const via of UNBUILT_PATHS) {
    const judgement = judgeXenPath(via, image, unpacked);
    const advice = judgement.carries
      ? {
          why: 'the kernel carries what it needs, but this version of zeropage does not boot it this way yet',
          fix: 'boot it through a supported path',
        }
      : { why: judgement.why, fix: judgement.fix };
    paths.push({ via, supported: false, carried: judgement.carries, built: false, ...advice });
  }
  if (damage) {
    for (const path of paths) {
      if (INSIDE.includes(path.via))
        Object.assign(path, { why: `the payload cannot be unpacked: ${damage.why}`, fix: damage.fix });
    }
  }
  return paths.sort((a, b) => PATH_ORDER.indexOf(a.via) - PATH_ORDER.indexOf(b.via));
}
