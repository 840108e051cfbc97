/** The guest's console as the machine keeps it: bytes, text, and lines as they are completed.
 *
 * Whatever path a byte took (serial port, port 0xe9, later a hypercall), it arrives here one at a time and in order.
 * Listeners hear each byte and each line at once; `text` and `lines` can be asked for at any time. Memory is bounded:
 * past the limit the oldest output goes, and a note in its place says how much.
 * Bytes are shown as UTF-8 where they are UTF-8, and as Latin-1 where they are not; nothing a guest prints is an error.
 * May not: judge what a line means (machine/verdict.ts), or write anywhere.
 * Next: machine/exit-reason.ts. */

import { bytes, misfit, record, type Saved, whole } from '../base/saved.ts';

/** A line ends at a newline; carriage returns before it do not belong to it. */
export type LineListener = (line: string) => void;
export type ByteListener = (byte: number) => void;

export type GuestConsoleOptions = {
  /** Bytes kept (default 4 MiB); rounded up to whole chunks. */
  limit?: number;
};

const CHUNK = 64 * 1024;
/** Listeners get at most this many bytes of one line; the rest of it stands in the text alone. */
const LONGEST_LINE = 4096;
const NEWLINE = 0x0a;
const RETURN = 0x0d;

export class GuestConsole {
  private readonly maxChunks: number;
  private chunks: Uint8Array[] = [];
  private used = CHUNK; // of the last chunk; full, so that the first byte makes one
  private dropped = 0;
  private readonly line = new Uint8Array(LONGEST_LINE);
  private lineLength = 0; // bytes since the last newline, also those past the limit
  private readonly lineListeners: LineListener[] = [];
  private readonly byteListeners: ByteListener[] = [];

  constructor(options: GuestConsoleOptions = {}) {
    this.maxChunks = Math.max(2, Math.ceil((options.limit ?? 4 * 1024 * 1024) / CHUNK));
  }

  /** One byte from the guest. */
  push(byte: number): void {
    if (this.used === CHUNK) this.addChunk();
    (this.chunks.at(-1) as Uint8Array)[this.used++] = byte;
    for (const listener of this.byteListeners) listener(byte);
    if (byte === NEWLINE) this.endLine();
    else {
      if (this.lineLength < LONGEST_LINE) this.line[this.lineLength] = byte;
      this.lineLength++;
    }
  }

  /** Text from a personality, as if the guest had sent its bytes. */
  pushText(text: string): void {
    for (const byte of new TextEncoder().encode(text)) this.push(byte);
  }

  onLine(listener: LineListener): void {
    this.lineListeners.push(listener);
  }

  onByte(listener: ByteListener): void {
    this.byteListeners.push(listener);
  }

  /** The run is over: a last line without a newline counts as a line. Calling it twice does nothing more. */
  finish(): void {
    if (this.lineLength > 0) this.endLine();
  }

  /** How many bytes the guest has sent, kept or not. */
  get length(): number {
    return this.dropped + Math.max(0, this.chunks.length - 1) * CHUNK + (this.chunks.length > 0 ? this.used : 0);
  }

  /** How many of them are gone. */
  get droppedBytes(): number {
    return this.dropped;
  }

  /** The bytes that are kept, from the `from`th that the guest sent on. */
  bytes(from = 0): Uint8Array {
    const start = Math.max(0, Math.min(from, this.length) - this.dropped);
    const all = new Uint8Array(this.length - this.dropped - start);
    let at = -start;
    for (const [i, chunk] of this.chunks.entries()) {
      const part = i === this.chunks.length - 1 ? chunk.subarray(0, this.used) : chunk;
      if (at + part.length > 0) all.set(part.subarray(Math.max(0, -at)), Math.max(0, at));
      at += part.length;
    }
    return all;
  }

  /** All that is kept as text, with a note in front when something was dropped. */
  get text(): string {
    const note = this.dropped > 0 ? `[${this.dropped} bytes of earlier output dropped]\n` : '';
    return note + decodeText(this.bytes());
  }

  /** The lines of `text`, the unfinished one included. */
  get lines(): string[] {
    const lines = this.text.split('\n').map((line) => line.replace(/\r+$/, ''));
    if (lines.at(-1) === '') lines.pop();
    return lines;
  }

  /** What has been printed since the last newline, as far as listeners get it. */
  get begunLine(): Uint8Array {
    return this.line.subarray(0, Math.min(this.lineLength, LONGEST_LINE));
  }

  /** All that is kept, and the line that has begun. */
  save(): Saved {
    return { kept: this.bytes(), dropped: this.dropped, line: this.line, lineLength: this.lineLength };
  }

  /** Listeners hear nothing of it: they were told when it was printed. */
  restore(saved: Saved, where: string): void {
    const shape = { kept: bytes(), dropped: whole(), line: bytes(LONGEST_LINE), lineLength: whole() };
    const { kept, dropped, line, lineLength } = record(shape)(saved, where);
    if (kept.length > this.maxChunks * CHUNK) throw misfit(where, `it keeps ${kept.length} bytes`);
    this.chunks = [];
    for (let at = 0; at < kept.length; at += CHUNK) {
      const chunk = new Uint8Array(CHUNK);
      chunk.set(kept.subarray(at, at + CHUNK));
      this.chunks.push(chunk);
    }
    this.used = kept.length === 0 ? CHUNK : kept.length - (this.chunks.length - 1) * CHUNK;
    this.dropped = dropped;
    this.line.set(line);
    this.lineLength = lineLength;
  }

  private endLine(): void {
    let length = Math.min(this.lineLength, LONGEST_LINE);
    this.lineLength = 0;
    while (length > 0 && this.line[length - 1] === RETURN) length--;
    if (this.lineListeners.length === 0) return;
    const text = decodeText(this.line.subarray(0, length));
    for (const listener of this.lineListeners) listener(text);
  }

  private addChunk(): void {
    if (this.chunks.length === this.maxChunks) {
      this.chunks.shift();
      this.dropped += CHUNK;
    }
    this.chunks.push(new Uint8Array(CHUNK));
    this.used = 0;
  }
}

/** Bytes as text: each valid UTF-8 sequence is its character, each other byte is the Latin-1 character of its number. */
export function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return decodeMixed(bytes);
  }
}

function decodeMixed(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes, at);
    parts.push(String.fromCodePoint(length === 1 ? bytes[at] : codePoint(bytes, at, length)));
    at += length;
  }
  return parts.join('');
}

/** Length of the UTF-8 sequence at `at`, or 1 when there is no valid one (RFC 3629, section 4). */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at];
  const length = first < 0xc2 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 1;
  for (let i = 1; i < length; i++) if ((bytes[at + i] & 0xc0) !== 0x80) return 1;
  if (length < 3) return length;
  const point = codePoint(bytes, at, length);
  const surrogate = point >= 0xd800 && point <= 0xdfff;
  const fits = length === 3 ? point >= 0x800 && !surrogate : point >= 0x1_0000 && point <= 0x10_ffff;
  return fits ? length : 1;
}

function codePoint(bytes: Uint8Array, at: number, length: number): number {
  let point = bytes[at] & (0xff >> (length + 1));
  for (let i = 1; i < length; i++) point = (point << 6) | (bytes[at + i] & 0x3f);
  return point;
}
