/** Tables for people: columns that line up, the last one wrapped to the width.
 *
 * Next: cli/plan.ts. */

export type Style = { heading(text: string): string; good(text: string): string; bad(text: string): string };

const plain = (text: string) => text;
export const PLAIN: Style = { heading: plain, good: plain, bad: plain };
export const COLOURED: Style = {
  heading: (text) => `\x1b[1m${text}\x1b[22m`,
  good: (text) => `\x1b[32m${text}\x1b[39m`,
  bad: (text) => `\x1b[31m${text}\x1b[39m`,
};

/** Rows of equal length; `style` gets the padded cell, so that escapes do not disturb the columns. */
export function textTable(
  rows: readonly (readonly string[])[],
  width: number,
  style: (cell: string, row: number, column: number) => string = plain,
): string {
  const indent = '  ';
  const columns = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: columns - 1 }, (_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  const margin = indent.length + widths.reduce((sum, each) => sum + each + 2, 0);
  const lastWidth = Math.max(24, width - margin);
  const lines = rows.map((row, y) => {
    const cells = row.slice(0, columns - 1).map((cell, x) => style(cell.padEnd(widths[x]), y, x));
    const last = wrap(row[columns - 1] ?? '', lastWidth).map((line) => style(line, y, columns - 1));
    return `${indent}${[...cells, last.join(`\n${' '.repeat(margin)}`)].join('  ')}`;
  });
  return lines.map((line) => line.replace(/ +$/gm, '')).join('\n');
}

/** Breaks at spaces; a word that is longer than the width stands alone. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line ? `${line} ${word}` : word;
  }
  return [...lines, line];
}
