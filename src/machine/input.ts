/** Input: what reaches the guest's serial port, and exactly when.
 *
 * Three sources. A script sends text when the console has shown something, which happens at an instruction count of
 * the guest's own making. A person types when it pleases; the machine notes the virtual time at which it took the bytes.
 * A recording gives the bytes back at those times, and the run is the same run, because virtual time stands at each
 * value for one instant only.
 * May not: know the serial port.   Next: machine/run-loop.ts. */
import { VmError } from '../base/errors.ts';
import { PatternWatch, type TextPattern } from './pattern.ts';

/** The recording, or the file that should be one, does not make sense. */
export class InputError extends VmError {}

/** Bytes to send once the console has shown `after`; at once when there is nothing to wait for. */
export type ScriptStep = { send: Uint8Array; after?: TextPattern };

/** Steps run in order: the second text is looked for behind the place where the first was found. */
export class InputScript {
  readonly #steps: { send: Uint8Array; watch: PatternWatch | undefined }[];
  #ready: Uint8Array[] = [];

  constructor(steps: readonly ScriptStep[]) {
    this.#steps = steps.map(({ send, after }) => ({
      send,
      watch: after === undefined ? undefined : new PatternWatch(after),
    }));
    this.#advance();
  }

  /** The console's next byte. */
  push(byte: number): void {
    if (!this.#steps[0]?.watch?.push(byte)) return;
    this.#ready.push((this.#steps.shift() as ScriptStep).send);
    this.#advance();
  }

  #advance(): void {
    while (this.#steps.length > 0 && !this.#steps[0].watch) this.#ready.push((this.#steps.shift() as ScriptStep).send);
  }

  /** What is due now; each is given once. */
  get hasReady(): boolean {
    return this.#ready.length > 0;
  }

  take(): Uint8Array[] {
    if (this.#ready.length === 0) return [];
    const ready = this.#ready;
    this.#ready = [];
    return ready;
  }

  /** What the next step waits for, for whoever explains a run that ended before it came. */
  get waitingFor(): string | undefined {
    return this.#steps[0]?.watch?.toString();
  }
}

/** Bytes and the virtual time at which the machine took them. */
export type RecordedInput = { atNs: number; bytes: Uint8Array };

const SCHEMA = 1;

/** The recording as a file: JSON, one character per byte in `text`. */
export function formatRecording(inputs: readonly RecordedInput[]): string {
  const input = inputs.map(({ atNs, bytes }) => ({ atNs, text: String.fromCharCode(...bytes) }));
  const lines = input.map((one) => `    ${JSON.stringify(one)}`).join(',\n');
  return `{\n  "schema": ${SCHEMA},\n  "kind": "zeropage input",\n  "input": [\n${lines}\n  ]\n}\n`;
}

/** Throws an InputError that names the entry. */
export function parseRecording(text: string, name: string): RecordedInput[] {
  const refuse = (why: string): never => {
    throw new InputError({
      what: `${name} is not a recording of input`,
      where: name,
      why,
      fix: 'give a file that --record-input has written',
    });
  };
  let file: { schema?: unknown; kind?: unknown; input?: unknown } | null = null;
  try {
    file = JSON.parse(text);
  } catch (error) {
    refuse((error as Error).message);
  }
  if (file === null || typeof file !== 'object' || file.kind !== 'zeropage input') {
    return refuse('it is JSON, but "kind" is not "zeropage input"');
  }
  if (file.schema !== SCHEMA) return refuse(`"schema" is ${JSON.stringify(file.schema)}, expected ${SCHEMA}`);
  if (!Array.isArray(file.input)) return refuse('"input" is not a list');
  let before = 0;
  return file.input.map((one: { atNs?: unknown; text?: unknown } | null, index) => {
    const at = one?.atNs;
    const bytes = one?.text;
    if (typeof at !== 'number' || !Number.isSafeInteger(at) || at < before) {
      return refuse(`input ${index}: "atNs" is ${JSON.stringify(at)}, expected a whole number of at least ${before}`);
    }
    if (typeof bytes !== 'string' || [...bytes].some((character) => character > '\xff')) {
      return refuse(`input ${index}: "text" is not a string of characters up to U+00FF`);
    }
    before = at;
    return { atNs: at, bytes: Uint8Array.from(bytes, (character) => character.charCodeAt(0)) };
  });
}
