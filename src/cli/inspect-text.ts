/** The printed form of an inspection: headings, tables, one verdict per entry path.
 *
 * Made for 80 columns and more; what is long wraps in its last column.   Next: cli/text-table.ts. */
import { formatSize } from '../base/numbers.ts';
import type { Inspection } from './inspect.ts';
import { type Style, textTable } from './text-table.ts';

const FORMATS = {
  bzimage: 'bzImage (Linux boot protocol)',
  elf64: 'ELF, 64-bit',
  elf32: 'ELF, 32-bit',
  'multiboot-aout': 'Multiboot 1 with its own addresses (a.out kludge)',
  flat: 'unknown: flat code, if anything',
} as const;

export function inspectionText(inspection: Inspection, width: number, style: Style): string {
  const { image, warnings, bootProtocol, setupHeader, layout, payload, elf, multiboot, entryPaths } = inspection;
  const sections: string[] = [];
  const add = (title: string, rows: readonly (readonly string[])[], cell?: Parameters<typeof textTable>[2]) =>
    sections.push(`${style.heading(title)}\n${textTable(rows, width, cell)}`);

  add('Image', [
    ['file', image.path],
    ['size', sizeOf(image.size)],
    ['sha256', image.sha256],
    ['format', FORMATS[image.format]],
    ...(image.versionString ? [['version', image.versionString]] : []),
  ]);
  if (bootProtocol) {
    const { magic, xenMinimum, offsets } = bootProtocol;
    add('Boot protocol', [
      ['version', `${bootProtocol.version} (${bootProtocol.value}, ${Number(bootProtocol.value)})`],
      ['magic on image', `${magic.onImage} "HdrS"`],
      ['Xen expects', `${magic.xenExpects}, compared as four letters`],
      ['QEMU expects', `${magic.qemuExpects}, compared as one word`],
      [
        'Xen needs',
        `${xenMinimum.version} (${xenMinimum.value}, ${Number(xenMinimum.value)}) or newer: ${xenMinimum.met ? 'met' : 'not met'}`,
      ],
    ]);
    add(
      'Protocol versions',
      bootProtocol.protocols.map(({ version, value, adds, has }) => [version, value, has ? 'yes' : 'no', adds]),
      (cell, _row, column) => (column !== 2 ? cell : cell.startsWith('yes') ? style.good(cell) : style.bad(cell)),
    );
    add('Offsets in setup_header that loaders rely on', [
      ['field', 'offset', 'expected', 'match'],
      ...offsets.map(({ field, offset, expected, match }) => [
        field,
        offset,
        expected ?? '-',
        match === undefined ? '-' : match ? 'yes' : 'NO',
      ]),
    ]);
  }
  if (setupHeader) {
    add('Setup header', [
      ['offset', 'field', 'value', 'meaning'],
      ...setupHeader.map(({ offset, name, value, meaning }) => [offset, name, value, meaning]),
    ]);
  }
  if (layout) {
    add('File layout', [
      ['offset', 'length', 'what', ''],
      ...layout.map(({ what, offset, length, note }) => [offset, String(length), what, note]),
    ]);
  }
  if (payload) {
    const { offset, length, compression, uncompressedSize, unpackedSize, error } = payload;
    const unpacked =
      error ?? `${unpackedSize} bytes${unpackedSize === uncompressedSize ? ', as the size trailer says' : ''}`;
    add('Payload', [
      ['offset', offset],
      ['length', sizeOf(length)],
      ['compression', compression],
      ['size trailer', sizeOf(uncompressedSize)],
      ['unpacked', error ? `failed: ${unpacked}` : unpacked],
    ]);
  }
  if (elf) {
    add(`ELF kernel${elf.unpackedFrom ? `, unpacked from ${elf.unpackedFrom}` : ''}`, [
      ['class', `${elf.class}-bit, ${elf.machine}, ${elf.type}`],
      ['entry', elf.entry],
      ['size', sizeOf(elf.size)],
      ['sections', String(elf.sections)],
      ['symbols', elf.symbols ? String(elf.symbols) : 'none (no symbol table)'],
    ]);
    add('Segments', [
      ['#', 'type', 'flags', 'offset', 'virtual', 'physical', 'in file', 'in memory'],
      ...elf.segments.map((s) => [String(s.index), s.type, s.flags, s.offset, s.vaddr, s.paddr, s.filesz, s.memsz]),
    ]);
    if (elf.notes.length > 0) {
      add('Notes', [
        ['offset', 'owner', 'type', 'name', 'value'],
        ...elf.notes.map((n) => [
          n.offset,
          n.owner,
          String(n.type),
          n.name ?? '-',
          `${n.value}${n.truncated ? ' (cut short by its segment)' : ''}`,
        ]),
      ]);
    } else sections.push(`${style.heading('Notes')}\n  none`);
  }
  if (multiboot) {
    add(
      `Multiboot header at ${multiboot.offset}`,
      multiboot.fields.map(({ offset, name, value, meaning }) => [offset, name, value, meaning]),
    );
  }
  const everyWarning = [...warnings, ...(elf && elf.warnings !== warnings ? elf.warnings : [])];
  if (everyWarning.length > 0)
    add(
      'Warnings',
      everyWarning.map((warning) => ['-', warning]),
    );
  add(
    'Entry paths',
    entryPaths.flatMap(({ via, supported, carried, why, fix }) => [
      [via, supported ? 'supported' : carried ? 'not built' : 'no', supported ? '' : (why ?? '')],
      ...(supported || !fix ? [] : [['', '', `fix: ${fix}`]]),
    ]),
    (cell, _row, column) => (column !== 1 ? cell : cell.startsWith('supported') ? style.good(cell) : style.bad(cell)),
  );
  return `${sections.join('\n\n')}\n`;
}

function sizeOf(bytes: number): string {
  const rounded = formatSize(bytes);
  return rounded.endsWith('bytes') ? rounded : `${bytes} bytes (${rounded})`;
}
