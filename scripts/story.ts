/** `npm run story`: the head comments of all files of src, in reading order.
 *
 * Every file names the one to read next, so the files form strands that join like rivers and end in one place. A file is
 * told after everything that leads to it; where strands join, the longest is told first and the short ones just before
 * they are needed. A folder's name after the command (`npm run story -- engine`) tells only that folder's part. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export type Chapter = {
  /** Path within src, with forward slashes. */
  file: string;
  /** The head comment's text, without the comment's own marks. */
  head: string;
  next: string | undefined;
};

/** Reads every file's head comment and the file its `Next:` names. */
export function readChapters(folder: string): Chapter[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((file) => file.replaceAll('\\', '/'))
    .filter((file) => file.endsWith('.ts'))
    .sort()
    .map((file) => {
      const text = readFileSync(join(folder, file), 'utf8').replace(/^#!.*\n/, '');
      const head = (text.match(/^\s*\/\*\*([\s\S]*?)\*\//)?.[1] ?? '').replace(/\n \* ?/g, '\n').trim();
      return { file, head, next: head.match(/Next:\s+([\w./-]+\.ts)\b/)?.[1] };
    });
}

/** Reading order. What never reaches an end (a circle) or leads to a file that is not there is not told. */
export function tell(chapters: readonly Chapter[]): Chapter[] {
  const before = new Map<string, Chapter[]>();
  for (const chapter of chapters) {
    if (chapter.next) before.set(chapter.next, [...(before.get(chapter.next) ?? []), chapter]);
  }
  const strand = (end: Chapter): Chapter[] => {
    const arms = (before.get(end.file) ?? []).map(strand).sort((a, b) => b.length - a.length);
    return [...arms.flat(), end];
  };
  return chapters.filter(({ next }) => next === undefined).flatMap(strand);
}

export const SOURCES = fileURLToPath(new URL('../src', import.meta.url));

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = process.argv[2]?.replace(/^src\//, '').replace(/\/?$/, '/') ?? '';
  for (const { file, head } of tell(readChapters(SOURCES))) {
    if (file.startsWith(folder)) console.log(`src/${file}\n\n${head.replace(/^(?=.)/gm, '  ')}\n`);
  }
}
