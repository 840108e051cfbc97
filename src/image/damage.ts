/** How the parsers say that a file is wrong: one cause, one message, with the place in the file.
 *
 * Next: image/bzimage.ts. */
import { ImageError } from '../base/errors.ts';
import { hex } from '../base/numbers.ts';

const AGAIN = 'get the file again (compare its size and checksum with the source) or build it again';

/** A file that contradicts itself. */
export function damaged(name: string, place: string, why: string, fix = AGAIN): ImageError {
  return new ImageError({ what: `${name} is damaged`, where: `${name}, ${place}`, why, fix });
}

/** A file that ends before what its headers promise. */
export function cutOff(name: string, what: string, end: number, length: number): ImageError {
  const why = `${what} ends at ${hex(end)}, and the file has ${hex(length)} bytes`;
  return new ImageError({ what: `${name} is cut short`, where: `${name}, ${what}`, why, fix: AGAIN });
}
