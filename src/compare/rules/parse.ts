/** A rules file as text becomes rules; what is wrong with it is said with its line and column.
 *
 * The format is made to be written by hand and compared line by line: `feature NAME` begins a rule, each line after it
 * is a key and its value, a line that begins with # is a comment, indentation is free. Lists are divided by commas; a
 * list's key may stand on several lines, and so may `reason`, whose lines are joined.
 * May not: look a function up in a kernel; a rule may be about another kernel than this.
 * Next: compare/rules/linux.ts, the rules that are shipped. */
import { VmError } from '../../base/errors.ts';
import { nearest } from './nearest.ts';
import { PATH_GROUPS, PATHS, pathsNamed } from './paths.ts';
import { type Pattern, rangeOf } from './pattern.ts';
import { EVIDENCE, type EvidenceKind, type Requirement, type Rule } from './rule.ts';

/** A rules file that says something it cannot mean. */
export class RulesError extends VmError {}

const KEYS = [...Object.keys(EVIDENCE), 'allowed', 'required', 'when', 'reason', 'source'];
/** What numbers an item of these lists may have; the others take names only. */
const HIGHEST: Partial<Record<EvidenceKind, bigint>> = {
  msrs: 0xffff_ffffn,
  ports: 0xffffn,
  hypercalls: 0xffff_ffffn,
  cpuid: 0xffff_ffffn,
  exceptions: 31n,
  memory: (1n << 64n) - 1n,
};
const NAMELESS: readonly EvidenceKind[] = ['ports', 'cpuid', 'memory'];
const REGISTERS = /^(?:CR(?:[0-9*?]|1[0-5])|DR[0-7*?]|GDTR|IDTR|LDTR|TR)$/i;
const FEATURE = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
const NAME = /^[#A-Za-z0-9_.$*?]+$/;

const MOST_CHARACTERS = 1 << 20;
const MOST_ITEMS = 20_000;
const LONGEST_LINE = 2000;

/** A word of the file, and where it stands. */
type Word = { text: string; line: number; column: number };

/** `file` names the text in messages. */
export function parseRules(text: string, file: string): Rule[] {
  return new Parser(text, file).rules();
}

class Parser {
  readonly #file: string;
  readonly #lines: string[];
  readonly #rules: Rule[] = [];
  /** Where each feature of this file began. */
  readonly #begun = new Map<string, number>();
  readonly #nameColumn = new Map<string, number>();
  #items = 0;

  constructor(text: string, file: string) {
    this.#file = file;
    if (text.length > MOST_CHARACTERS) {
      throw new RulesError({
        what: `${file} is too long for a rules file`,
        where: file,
        why: `it has ${text.length} characters, and ${MOST_CHARACTERS} are taken at most`,
        fix: 'give the rules file, not another one; split it if it is one',
      });
    }
    this.#lines = text.replace(/^\ufeff/, '').split(/\r?\n/);
  }

  rules(): Rule[] {
    let rule: Rule | undefined;
    let once = new Set<string>();
    this.#lines.forEach((raw, index) => {
      const line = index + 1;
      this.#checkCharacters(raw, line);
      const content = raw.trim();
      if (content === '' || content.startsWith('#')) return;
      const column = raw.length - raw.trimStart().length + 1;
      const [key] = content.split(/[\s]/, 1);
      const rest = content.slice(key.length);
      const value = { text: rest.trim(), line, column: column + key.length + rest.length - rest.trimStart().length };
      const keyWord = { text: key, line, column };
      if (key === 'feature') {
        if (rule) this.#finish(rule);
        rule = this.#begin(value);
        once = new Set();
        return;
      }
      if (!KEYS.includes(key)) this.#unknownKey(keyWord);
      if (!rule) {
        throw this.#error(keyWord, `"${key}" stands before any feature`, 'each line belongs to the feature above it', 'write "feature NAME" above it'); // biome-ignore format: one line
      }
      if (value.text === '') {
        throw this.#error(keyWord, `"${key}" has no value`, `${this.#meaning(key)} is expected behind it`, `write it behind the key, or remove the line`); // biome-ignore format: one line
      }
      if (key === 'allowed' || key === 'source') {
        if (once.has(key)) {
          throw this.#error(keyWord, `"${key}" comes twice in feature ${rule.feature}`, 'a rule has one', 'join the two lines'); // biome-ignore format: one line
        }
        once.add(key);
      }
      this.#read(rule, key, value);
    });
    if (rule) this.#finish(rule);
    return this.#rules;
  }

  #begin(name: Word): Rule {
    const { text, line } = name;
    if (!FEATURE.test(text)) {
      throw this.#error(name, text === '' ? 'a feature has no name' : `${quote(text)} is no name for a feature`, 'a name has letters, digits, _, . and -, 64 at most, and begins with a letter or digit', 'write it as in "feature cr4-shadow"'); // biome-ignore format: one line
    }
    const before = this.#begun.get(text);
    if (before !== undefined) {
      throw this.#error(name, `feature ${text} is there twice`, `it began in line ${before} already`, 'join the two, or name one of them differently'); // biome-ignore format: one line
    }
    this.#begun.set(text, line);
    this.#nameColumn.set(text, name.column);
    const from = `${this.#file}:${line}`;
    return { feature: text, evidence: [], allowed: undefined, required: [], when: [], reason: '', source: undefined, from }; // biome-ignore format: one line
  }

  #read(rule: Rule, key: string, value: Word): void {
    if (key === 'reason') rule.reason = rule.reason === '' ? value.text : `${rule.reason} ${value.text}`;
    else if (key === 'source') rule.source = value.text;
    else if (key === 'allowed') rule.allowed = this.#paths(withoutOn(value));
    else if (key === 'required') rule.required.push(this.#requirement(withoutOn(value)));
    else if (key === 'when') rule.when.push(...this.#list(value).map((item) => this.#name(item, 'functions')));
    else {
      const kind = key as EvidenceKind;
      rule.evidence.push(...this.#list(value).map((item) => ({ kind, pattern: this.#pattern(item, kind) })));
    }
  }

  /** What a rule must have, known at its end. */
  #finish(rule: Rule): void {
    const line = this.#begun.get(rule.feature) as number;
    const at = { text: rule.feature, line, column: this.#nameColumn.get(rule.feature) as number };
    const lacks = (what: string, why: string, fix: string) => this.#error(at, `feature ${rule.feature} ${what}`, why, fix); // biome-ignore format: one line
    if (rule.evidence.length === 0) {
      throw lacks('has nothing that shows it', `without ${Object.keys(EVIDENCE).join(', ')} nobody can tell whether it ran`, 'add what shows it, as in "functions cr4_init_shadow"'); // biome-ignore format: one line
    }
    if (rule.allowed === undefined && rule.required.length === 0) {
      throw lacks('asks for nothing', 'a rule says where a feature is allowed or where it is required', 'add a line as "allowed on pc" or "required on all before start_kernel"'); // biome-ignore format: one line
    }
    if (rule.reason === '') {
      throw lacks('has no reason', 'whoever reads a finding wants to know why the rule is there', 'add a line "reason ..."'); // biome-ignore format: one line
    }
    for (const { paths } of rule.required) {
      const both = [...paths].find((path) => rule.allowed && !rule.allowed.has(path));
      if (both === undefined) continue;
      throw lacks(`is required on ${both} and not allowed there`, 'both cannot hold', `add ${both} to "allowed", or take it out of "required"`); // biome-ignore format: one line
    }
    this.#rules.push(rule);
  }

  #requirement(value: Word): Requirement {
    const match = /^(.*?)(?:\s+before(?:\s+(.*))?)?$/s.exec(value.text) as RegExpExecArray;
    const paths = this.#paths({ ...value, text: match[1] });
    const hasBefore = /\sbefore(?:\s|$)/.test(value.text);
    const at = value.column + value.text.indexOf(' before') + 1;
    if (hasBefore && match[2] === undefined) {
      throw this.#error({ text: 'before', line: value.line, column: at }, '"before" names no waypoint', 'a symbol is expected behind it', 'write it as in "required on all before start_kernel"'); // biome-ignore format: one line
    }
    const before = match[2];
    if (before !== undefined && !/^[A-Za-z0-9_.$]+$/.test(before)) {
      const column = value.column + value.text.length - before.length;
      throw this.#error({ text: before, line: value.line, column }, `${quote(before)} is no waypoint`, 'one symbol or address is expected behind "before"', 'name one, as start_kernel'); // biome-ignore format: one line
    }
    return { paths, before, text: value.text };
  }

  /** `all but xen-pv, lguest`: paths and groups, and those to leave out. */
  #paths(value: Word): ReadonlySet<string> {
    if (value.text === 'none') return new Set();
    const but = /(?:^|\s)but(?=\s|$)/.exec(value.text);
    const [plus, minus] = but
      ? [
          { ...value, text: value.text.slice(0, but.index) },
          {
            ...value,
            text: value.text.slice(but.index + but[0].length),
            column: value.column + but.index + but[0].length,
          },
        ]
      : [value, undefined];
    const named = (word: Word) => this.#list(word).flatMap((item) => this.#path(item));
    const paths = new Set(named(plus));
    for (const path of minus ? named(minus) : []) paths.delete(path);
    return paths;
  }

  #path(word: Word): readonly string[] {
    const paths = pathsNamed(word.text);
    if (paths) return paths;
    const known = [...PATHS, ...Object.keys(PATH_GROUPS), 'none', 'but', 'before'];
    const meant = nearest(word.text, known);
    throw this.#error(
      word,
      `${quote(word.text)} is no entry path`,
      `paths are ${PATHS.join(', ')}; groups are ${Object.keys(PATH_GROUPS).join(', ')}`,
      meant ? `did you mean ${meant}?` : 'use one of these, divided by commas, as in "all but xen-pv"',
    );
  }

  #pattern(word: Word, kind: EvidenceKind): Pattern {
    const highest = HIGHEST[kind];
    const looksLikeNumber = /^[0-9]/.test(word.text);
    if (highest === undefined || (!looksLikeNumber && !NAMELESS.includes(kind))) return this.#name(word, kind);
    const range = rangeOf(word.text);
    if (!range) {
      throw this.#error(word, `${quote(word.text)} is no number`, `"${kind}" are ${EVIDENCE[kind]}`, 'write it as in 0x70 or 0x70-0x71'); // biome-ignore format: one line
    }
    if (range.from > range.to) {
      throw this.#error(word, `the range ${word.text} ends before it begins`, 'the lower number comes first', 'swap the two'); // biome-ignore format: one line
    }
    if (range.to > highest) {
      throw this.#error(word, `${word.text} is too high for "${kind}"`, `the highest is 0x${highest.toString(16)}`, 'use a lower number'); // biome-ignore format: one line
    }
    return range;
  }

  #name(word: Word, kind: EvidenceKind): Pattern {
    const fits = kind === 'registers' ? REGISTERS : NAME;
    if (!fits.test(word.text)) {
      const hasSpace = /\s/.test(word.text);
      const fix = hasSpace
        ? word.text.includes('#')
          ? 'put the comment on a line of its own'
          : 'divide the items by commas'
        : kind === 'registers'
          ? 'use CR0 to CR15, DR0 to DR7, GDTR, IDTR, LDTR or TR'
          : 'use letters, digits, _, . and $; * and ? stand for any letters and for one';
      throw this.#error(word, `${quote(word.text)} does not belong into "${kind}"`, `"${kind}" are ${EVIDENCE[kind]}`, fix); // biome-ignore format: one line
    }
    if (/^\*+$/.test(word.text)) {
      throw this.#error(word, `${word.text} fits everything`, 'a rule about everything says nothing', 'put letters beside the *'); // biome-ignore format: one line
    }
    return { kind: 'name', text: word.text };
  }

  #list(value: Word): Word[] {
    const words: Word[] = [];
    let column = value.column;
    for (const part of value.text.split(',')) {
      const word = { text: part.trim(), line: value.line, column: column + part.length - part.trimStart().length };
      if (word.text === '') {
        throw this.#error(word, 'an item of the list is empty', 'a name is expected before and after each comma', 'remove the comma, or write the item'); // biome-ignore format: one line
      }
      words.push(word);
      column += part.length + 1;
    }
    this.#items += words.length;
    if (this.#items > MOST_ITEMS) {
      throw this.#error(value, 'there are too many items in this file', `${MOST_ITEMS} are taken at most`, 'use * in names, or ranges'); // biome-ignore format: one line
    }
    return words;
  }

  #unknownKey(key: Word): never {
    const meant = nearest(key.text, ['feature', ...KEYS]);
    throw this.#error(
      key,
      `${quote(key.text)} is no key of a rules file`,
      `keys are feature, ${KEYS.join(', ')}`,
      meant ? `did you mean ${meant}?` : 'use one of these; a comment begins with #',
    );
  }

  #meaning(key: string): string {
    if (Object.hasOwn(EVIDENCE, key)) return EVIDENCE[key as EvidenceKind];
    return { allowed: 'a list of paths', required: 'a list of paths', when: 'a list of functions' }[key] ?? 'a text';
  }

  #checkCharacters(raw: string, line: number): void {
    if (raw.length > LONGEST_LINE) {
      throw this.#error({ text: '', line, column: LONGEST_LINE + 1 }, `line ${line} is too long`, `it has ${raw.length} characters, and ${LONGEST_LINE} are taken at most`, 'give the key again in a second line; lists and reasons are joined'); // biome-ignore format: one line
    }
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    const column = raw.search(/[\u0000-\u0008\u000b-\u001f\u007f\ufffd]/) + 1;
    if (column === 0) return;
    const code = raw.charCodeAt(column - 1).toString(16).padStart(2, '0'); // biome-ignore format: one line
    throw this.#error({ text: '', line, column }, `there is a character 0x${code} in the file`, 'a rules file is text in UTF-8', 'give a text file; see the section "Rules" of the README'); // biome-ignore format: one line
  }

  #error(at: Word, what: string, why: string, fix: string): RulesError {
    const shown = clip(this.#lines[at.line - 1].trim());
    const where = `${this.#file}:${at.line}:${at.column}${shown === '' ? '' : `: ${shown}`}`;
    return new RulesError({ what, where, why, fix });
  }
}

/** `allowed on pc`: the small word reads well, and may be left out. */
function withoutOn(value: Word): Word {
  const match = /^on\s+/.exec(value.text);
  return match ? { ...value, text: value.text.slice(match[0].length), column: value.column + match[0].length } : value;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they must not reach a terminal
const clip = (text: string) => (text.length > 100 ? `${text.slice(0, 97)}...` : text).replace(/[\u0000-\u001f\u007f-\u009f]/g, '?'); // biome-ignore format: one line
const quote = (text: string) => JSON.stringify(clip(text));
