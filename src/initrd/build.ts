/** A bootable initrd from a few entries: folders that are missing are made, and so are the devices that /init needs.
 *
 * Linux opens /dev/console for its first process before that could make any device; without it /init has no standard
 * output, and a user without root cannot have a device in a folder. So /dev, /dev/console and /dev/null are added where
 * they are absent, and said. Entries are sorted by their bytes, so the order of a host's folder does not show.
 * Next: initrd/recognise.ts, what an initrd is that came ready-made. */
import { bytesOf, type InitrdEntry, keyOf, packInitrd } from './newc.ts';

export type BuiltInitrd = {
  bytes: Uint8Array;
  /** What was added or changed, for people. */
  notes: string[];
};

/** What every /init counts on (Linux Documentation/admin-guide/devices.txt). */
const DEVICES = [
  { path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
  { path: 'dev/null', mode: 0o666, major: 1, minor: 3 },
] as const;

export function buildInitrd(given: readonly InitrdEntry[]): BuiltInitrd {
  const notes: string[] = [];
  const entries = new Map(given.map((entry) => [keyOf(entry.path), entry]));
  if (entries.size < given.length) return { bytes: packInitrd(inOrder(given)), notes }; // which refuses the second one
  const added: string[] = [];
  const dev = entries.get('dev');
  if (dev === undefined || dev.kind === 'folder') {
    for (const { path, ...device } of DEVICES) {
      const present = entries.get(path);
      // An empty file is what a device becomes when someone without root unpacks an archive.
      if (present !== undefined && !(present.kind === 'file' && present.data.length === 0)) continue;
      entries.set(path, { path, kind: 'character device', ...device });
      added.push(`/${path} (${device.major}, ${device.minor})${present ? ' in place of an empty file' : ''}`);
    }
  } else notes.push(`/dev is a ${dev.kind}: no devices were added`);
  if (added.length > 0) notes.push(`added ${added.join(' and ')}`);
  for (const [key, { path }] of [...entries]) {
    for (let at = key.indexOf('/'); at > 0; at = key.indexOf('/', at + 1)) {
      const folder = key.slice(0, at);
      if (!entries.has(folder)) entries.set(folder, { path: bytesOf(path).subarray(0, at), kind: 'folder' });
    }
  }
  return { bytes: packInitrd(inOrder([...entries.values()])), notes };
}

/** By path; a folder so comes before what is in it. Other names of a file follow it, whatever they are called. */
export function inOrder(entries: readonly InitrdEntry[]): InitrdEntry[] {
  const keyed = entries.map((entry) => ({ entry, path: bytesOf(entry.path), late: entry.kind === 'link' ? 1 : 0 }));
  keyed.sort((a, b) => a.late - b.late || compareBytes(a.path, b.path));
  return keyed.map(({ entry }) => entry);
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const common = Math.min(a.length, b.length);
  for (let i = 0; i < common; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}
