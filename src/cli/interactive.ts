/** The keyboard: what a person types goes to the guest, byte by byte, as on a serial terminal.
 *
 * The terminal is put into raw mode, so Ctrl-C reaches the guest. Ctrl-A x ends the run, as QEMU's users expect, and so
 * does Ctrl-]; Ctrl-A h says so, Ctrl-A twice sends one. The terminal is put back on every way out that leaves us a say:
 * the end of the run, a signal that stops or suspends us, an exception that nobody caught.
 * Input that is no terminal (a pipe, a file) goes to the guest unchanged; its end means that nobody types any more.
 * Next: cli/symbols.ts. */
import type { ReadStream } from 'node:tty';

export type Keyboard = {
  onBytes: (bytes: Uint8Array) => void;
  /** End of a pipe. */
  onEnd: () => void;
  /** Ctrl-] or Ctrl-A x. */
  onQuit: () => void;
  /** Ctrl-A h. */
  onHelp: () => void;
};

export const KEYS_HINT = 'Ctrl-A x ends the run, Ctrl-A h lists the keys';
export const KEYS_HELP = `Ctrl-A x       end the run (Ctrl-] does too)
Ctrl-A Ctrl-A  send one Ctrl-A to the guest
Ctrl-A h       this list
All other keys, Ctrl-C and Ctrl-Z among them, are the guest's.
`;

const CTRL_A = 0x01;
const CTRL_RIGHT_BRACKET = 0x1d;

/** Starts listening; the result stops it and restores the terminal. */
export function openKeyboard(input: ReadStream | NodeJS.ReadStream, keyboard: Keyboard): () => void {
  const { onBytes, onEnd, onQuit, onHelp } = keyboard;
  const terminal = input.isTTY === true;
  const keys = new EscapeKeys();
  const onData = (data: Buffer) => {
    if (!terminal) return onBytes(data);
    const { bytes, quit, help } = keys.take(data);
    if (bytes.length > 0) onBytes(bytes);
    if (help) onHelp();
    if (quit) onQuit();
  };
  const release = terminal ? takeTerminal(input) : () => {};
  input.on('data', onData);
  input.once('end', onEnd);
  input.once('error', onEnd);
  input.resume();
  return () => {
    input.off('data', onData);
    input.off('end', onEnd);
    input.off('error', onEnd);
    input.pause();
    release();
    (input as { unref?: () => void }).unref?.();
  };
}

/** Raw mode until the result is called, the process exits, or it is suspended. */
function takeTerminal(input: ReadStream | NodeJS.ReadStream): () => void {
  const restore = () => {
    try {
      input.setRawMode(false);
    } catch {
      // The terminal has gone; there is nothing to restore.
    }
  };
  // Whoever suspends us from outside gets a usable terminal; we take it again when we go on.
  const suspend = () => {
    restore();
    process.kill(process.pid, 'SIGSTOP');
  };
  const goOn = () => input.setRawMode(true);
  // Its usual end would leave no time for the exit handler.
  const dieOf = (signal: NodeJS.Signals) => {
    restore();
    process.off(signal, dieOf);
    process.kill(process.pid, signal);
  };
  input.setRawMode(true);
  process.once('exit', restore); // also after an exception that nobody caught
  process.on('SIGTSTP', suspend).on('SIGCONT', goOn).on('SIGQUIT', dieOf);
  return () => {
    restore();
    process.off('exit', restore).off('SIGTSTP', suspend).off('SIGCONT', goOn).off('SIGQUIT', dieOf);
  };
}

export type Keys = { bytes: Uint8Array; quit: boolean; help: boolean };

/** Tells the keys that are ours from the guest's. */
export class EscapeKeys {
  #afterCtrlA = false;

  take(data: Uint8Array): Keys {
    const bytes: number[] = [];
    let help = false;
    for (const key of data) {
      if (this.#afterCtrlA) {
        this.#afterCtrlA = false;
        if (key === 0x78 || key === 0x58) return { bytes: Uint8Array.from(bytes), quit: true, help };
        if (key === 0x68 || key === 0x3f) help = true;
        else {
          if (key !== CTRL_A) bytes.push(CTRL_A);
          bytes.push(key);
        }
      } else if (key === CTRL_RIGHT_BRACKET) return { bytes: Uint8Array.from(bytes), quit: true, help };
      else if (key === CTRL_A) this.#afterCtrlA = true;
      else bytes.push(key);
    }
    return { bytes: Uint8Array.from(bytes), quit: false, help };
  }
}
