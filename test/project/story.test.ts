import { describe, expect, it } from 'vitest';
import { readChapters, SOURCES, tell } from '../../scripts/story.ts';

const chapters = readChapters(SOURCES);

describe('the story that the head comments tell', () => {
  it('gives every file of src a head comment', () => {
    expect(chapters.filter(({ head }) => head.length < 40).map(({ file }) => file)).toEqual([]);
  });

  it('names only files that exist as the next ones', () => {
    const files = new Set(chapters.map(({ file }) => file));
    expect(chapters.filter(({ next }) => next !== undefined && !files.has(next))).toEqual([]);
  });

  it('ends in one place', () => {
    expect(chapters.filter(({ next }) => next === undefined).map(({ file }) => file)).toEqual(['cli/paths.ts']);
  });

  it('leaves no file out and tells each once, after all that lead to it', () => {
    const told = tell(chapters).map(({ file }) => file);
    expect([...told].sort()).toEqual(chapters.map(({ file }) => file));
    const place = new Map(told.map((file, index) => [file, index]));
    for (const { file, next } of chapters) {
      if (next) expect(place.get(next), `${next} after ${file}`).toBeGreaterThan(place.get(file) as number);
    }
  });

  it('notices a circle and a file without a successor', () => {
    const chapter = (file: string, next?: string) => ({ file, head: '', next });
    const told = tell([chapter('a.ts', 'b.ts'), chapter('b.ts', 'a.ts'), chapter('c.ts', 'd.ts'), chapter('d.ts')]);
    expect(told.map(({ file }) => file)).toEqual(['c.ts', 'd.ts']);
  });
});
