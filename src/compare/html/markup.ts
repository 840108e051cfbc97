/** Markup: HTML in which whatever comes from outside is text.
 *
 * A tagged template escapes each value that is put into it; only what such a template made goes in as it is. Kernel and
 * symbol names are hostile input: beside the characters that mean something to HTML, control characters and those that
 * turn the direction of text or cannot be seen are shown by their number.
 * May not: know what it marks up.   Next: compare/html/style.ts. */

export class Html {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

type Value = Html | string | number | undefined | false | readonly Value[];

/** html`<b>${name}</b>`: arrays are joined, undefined and false are nothing. */
export function html(parts: TemplateStringsArray, ...values: readonly Value[]): Html {
  let text = parts[0];
  values.forEach((value, i) => {
    text += render(value) + parts[i + 1];
  });
  return new Html(text);
}

function render(value: Value): string {
  if (value === undefined || value === false) return '';
  if (value instanceof Html) return value.text;
  if (typeof value === 'object') return value.map(render).join('');
  return escapeText(String(value));
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
/** C0 and C1 but for tab and line end, marks and overrides of direction, zero-width characters, halves of surrogates. */
const UNSEEN =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Characters that nobody can see become their numbers: `\u202e`. */
export function visible(text: string): string {
  return text.replace(UNSEEN, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

export function escapeText(text: string): string {
  return visible(text).replace(/[&<>"']/g, (c) => ENTITIES[c]);
}

/** Data for a script element of type application/json: no text in it can end the element or open a comment. */
export function jsonForScript(value: unknown): Html {
  return new Html(JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)); // biome-ignore format: one line
}

/** 1234567 → "1,234,567". */
export function grouped(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}

/** A share of a whole as CSS and SVG take it, with a precision that no screen exceeds. */
export function percent(part: number, whole: number): string {
  return `${whole === 0 ? 0 : Number(((100 * part) / whole).toFixed(3))}%`;
}
