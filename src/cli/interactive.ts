/** The keyboard: what a person types goes to the guest, byte by byte, as on a serial terminal.
 *
 * The terminal is put into raw mode, so Ctrl-C reaches the guest. Ctrl-] ends the run, and so does Ctrl-A x, as QEMU's
 * users expect; Ctrl-A twice sends one. The terminal is put back on every way out of the process that leaves us a say.
 * Input that is no terminal (a pipe, a file) goes to the guest unchanged; its end means that nobody types any more.
 * Next: cli/symbols.ts. */
import type { ReadStream } from 'node:tty';

export type Keyboard = {
  onBytes: (bytes: Uint8Array) => void;
  /** End of a pipe. */
  onEnd: () => void;
  /** Ctrl-] or Ctrl-A x. */
  onQuit: () => void;
};

const CTRL_A = 0x01;
const CTRL_RIGHT_BRACKET = 0x1d;

/** Starts listening; the result stops it and restores the terminal. */
export function openKeyboard(input: ReadStream | NodeJS.ReadStream, { onBytes, onEnd, onQuit }: Keyboard): () => void {
  const terminal = input.isTTY === true;
  const keys = new EscapeKeys();
  const onData = (data: Buffer) => {
    if (!terminal) return onBytes(data);
    const { bytes, quit } = keys.take(data);
    if (bytes.length > 0) onBytes(bytes);
    if (quit) onQuit();
  };
  const restore = () => {
    if (terminal) input.setRawMode(false);
  };
  if (terminal) {
    input.setRawMode(true);
    process.once('exit', restore); // also after an exception that nobody caught
  }
  input.on('data', onData);
  input.once('end', onEnd);
  input.once('error', onEnd);
  input.resume();
  return () => {
    input.off('data', onData);
    input.off('end', onEnd);
    input.off('error', onEnd);
    input.pause();
    restore();
    process.off('exit', restore);
    (input as { unref?: () => void }).unref?.();
  };
}

/** Tells the keys that are ours from the guest's. */
export class EscapeKeys {
  #afterCtrlA = false;

  take(data: Uint8Array): { bytes: Uint8Array; quit: boolean } {
    const bytes: number[] = [];
    for (const key of data) {
      if (this.#afterCtrlA) {
        this.#afterCtrlA = false;
        if (key === 0x78 || key === 0x58) return { bytes: Uint8Array.from(bytes), quit: true };
        if (key !== CTRL_A) bytes.push(CTRL_A);
        bytes.push(key);
      } else if (key === CTRL_RIGHT_BRACKET) return { bytes: Uint8Array.from(bytes), quit: true };
      else if (key === CTRL_A) this.#afterCtrlA = true;
      else bytes.push(key);
    }
    return { bytes: Uint8Array.from(bytes), quit: false };
  }
}
