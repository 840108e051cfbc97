/** LZMA: a range coder over adaptive bits, feeding matches and literals.
 *
 * `LzmaDecoder` serves the "lzma alone" container below and LZMA2 chunks (unpack/xz.ts). The output is its own dictionary.
 * One function holds the whole decoder, with range, code and positions in locals and the bit decoder written out in place:
 * calls or shared variables there cost a factor of two, and a kernel unpacks to 65 MB.
 * Follows: lzma-specification.txt of the LZMA SDK.   Next: unpack/xz.ts. */
import { cutShort, DamagedStream, tooMuch } from './stream.ts';

// Places in the table of probabilities.
const IS_MATCH = 0; // [state 12][position 16]
const IS_REP = 192; // [state]
const IS_REP0 = 204;
const IS_REP1 = 216;
const IS_REP2 = 228;
const IS_REP0_LONG = 240; // [state][position]
const DISTANCE_SLOT = 432; // [length 4][64]
const DISTANCE_SPECIAL = 688; // 115, indexed from base - slot
const DISTANCE_ALIGN = 816; // 16
const LENGTH = 832; // choice, choice 2, low [16][8], middle [16][8], high [256]
const REP_LENGTH = 1346;
const LITERAL = 1860; // [context 16 at most][0x300]

const PROBABILITY = 1024; // one half, of 2048

export class LzmaDecoder {
  private readonly probabilities = new Uint16Array(LITERAL + 16 * 0x300);
  private lc = 0;
  private lp = 0;
  private pb = 0;
  private state = 0;
  private rep0 = 0;
  private rep1 = 0;
  private rep2 = 0;
  private rep3 = 0;

  /** The property byte: (pb * 5 + lp) * 9 + lc. More than 4 literal context bits are left to older encoders. */
  setProperties(byte: number) {
    const lc = byte % 9;
    const lp = Math.floor(byte / 9) % 5;
    const pb = Math.floor(byte / 45);
    if (pb > 4 || lc + lp > 4) throw new DamagedStream(`LZMA property byte 0x${byte.toString(16)} is not known here`);
    this.lc = lc;
    this.lp = lp;
    this.pb = pb;
  }

  resetState() {
    this.state = 0;
    this.rep0 = this.rep1 = this.rep2 = this.rep3 = 0;
    this.probabilities.fill(PROBABILITY);
  }

  /** Decodes from input[at, end) to out[start, stop); matches reach back to `dictionary` at most. Returns where the output
   * ends: where the marker stands with ending 'marker', else `stop`. An 'exact' stream uses its input up, as LZMA2 demands;
   * a 'sized' one may have an end marker behind it that nobody reads. */
  decode(
    input: Uint8Array,
    at: number,
    end: number,
    out: Uint8Array,
    start: number,
    stop: number,
    dictionary: number,
    ending: 'marker' | 'exact' | 'sized',
  ): number {
    const marker = ending === 'marker';
    const { probabilities: p, lc, lp, pb } = this;
    const literalMask = (1 << lp) - 1;
    const positionMask = (1 << pb) - 1;
    const literalShift = 8 - lc;
    let { state, rep0, rep1, rep2, rep3 } = this;
    if (at + 5 > end) throw cutShort(end);
    if (input[at] !== 0) throw new DamagedStream('the first byte of an LZMA stream is not 0');
    let code = ((input[at + 1] << 24) | (input[at + 2] << 16) | (input[at + 3] << 8) | input[at + 4]) >>> 0;
    let range = 0xffff_ffff;
    let from = at + 5;
    let to = start;
    let bound = 0;
    let probability = 0;
    let i = 0; // index into p

    while (to < stop || marker) {
      if (from > end) throw cutShort(end);
      // Positions count from the beginning of the dictionary, as the encoder's do.
      const positionState = (to - dictionary) & positionMask;

      i = IS_MATCH + (state << 4) + positionState;
      probability = p[i];
      if (range < 0x100_0000) {
        range = (range << 8) >>> 0;
        code = ((code << 8) | input[from++]) >>> 0;
      }
      bound = Math.imul(range >>> 11, probability) >>> 0;
      if (code < bound) {
        range = bound;
        p[i] = probability + ((2048 - probability) >>> 5);

        const previous = to > dictionary ? out[to - 1] : 0;
        const table = LITERAL + 0x300 * ((((to - dictionary) & literalMask) << lc) + (previous >>> literalShift));
        let symbol = 1;
        if (state >= 7) {
          let match = out[to - rep0 - 1];
          do {
            match <<= 1;
            const matchBit = match & 0x100;
            i = table + 0x100 + matchBit + symbol;
            probability = p[i];
            if (range < 0x100_0000) {
              range = (range << 8) >>> 0;
              code = ((code << 8) | input[from++]) >>> 0;
            }
            bound = Math.imul(range >>> 11, probability) >>> 0;
            if (code < bound) {
              range = bound;
              p[i] = probability + ((2048 - probability) >>> 5);
              symbol <<= 1;
              if (matchBit !== 0) break;
            } else {
              range = (range - bound) >>> 0;
              code = (code - bound) >>> 0;
              p[i] = probability - (probability >>> 5);
              symbol = (symbol << 1) | 1;
              if (matchBit === 0) break;
            }
          } while (symbol < 0x100);
        }
        while (symbol < 0x100) {
          i = table + symbol;
          probability = p[i];
          if (range < 0x100_0000) {
            range = (range << 8) >>> 0;
            code = ((code << 8) | input[from++]) >>> 0;
          }
          bound = Math.imul(range >>> 11, probability) >>> 0;
          if (code < bound) {
            range = bound;
            p[i] = probability + ((2048 - probability) >>> 5);
            symbol <<= 1;
          } else {
            range = (range - bound) >>> 0;
            code = (code - bound) >>> 0;
            p[i] = probability - (probability >>> 5);
            symbol = (symbol << 1) | 1;
          }
        }
        if (to >= stop) throw tooMuch(out.length);
        out[to++] = symbol;
        state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
        continue;
      }
      range = (range - bound) >>> 0;
      code = (code - bound) >>> 0;
      p[i] = probability - (probability >>> 5);

      let lengthTable = LENGTH;
      i = IS_REP + state;
      probability = p[i];
      if (range < 0x100_0000) {
        range = (range << 8) >>> 0;
        code = ((code << 8) | input[from++]) >>> 0;
      }
      bound = Math.imul(range >>> 11, probability) >>> 0;
      const simple = code < bound;
      if (simple) {
        range = bound;
        p[i] = probability + ((2048 - probability) >>> 5);
        rep3 = rep2;
        rep2 = rep1;
        rep1 = rep0;
      } else {
        range = (range - bound) >>> 0;
        code = (code - bound) >>> 0;
        p[i] = probability - (probability >>> 5);
        lengthTable = REP_LENGTH;

        i = IS_REP0 + state;
        probability = p[i];
        if (range < 0x100_0000) {
          range = (range << 8) >>> 0;
          code = ((code << 8) | input[from++]) >>> 0;
        }
        bound = Math.imul(range >>> 11, probability) >>> 0;
        if (code < bound) {
          range = bound;
          p[i] = probability + ((2048 - probability) >>> 5);

          i = IS_REP0_LONG + (state << 4) + positionState;
          probability = p[i];
          if (range < 0x100_0000) {
            range = (range << 8) >>> 0;
            code = ((code << 8) | input[from++]) >>> 0;
          }
          bound = Math.imul(range >>> 11, probability) >>> 0;
          if (code < bound) {
            range = bound;
            p[i] = probability + ((2048 - probability) >>> 5);
            if (rep0 >= to - dictionary) throw reach(rep0, to - dictionary);
            if (to >= stop) throw tooMuch(out.length);
            out[to] = out[to - rep0 - 1];
            to++;
            state = state < 7 ? 9 : 11;
            continue;
          }
          range = (range - bound) >>> 0;
          code = (code - bound) >>> 0;
          p[i] = probability - (probability >>> 5);
        } else {
          range = (range - bound) >>> 0;
          code = (code - bound) >>> 0;
          p[i] = probability - (probability >>> 5);

          i = IS_REP1 + state;
          probability = p[i];
          if (range < 0x100_0000) {
            range = (range << 8) >>> 0;
            code = ((code << 8) | input[from++]) >>> 0;
          }
          bound = Math.imul(range >>> 11, probability) >>> 0;
          let distance = rep1;
          if (code < bound) {
            range = bound;
            p[i] = probability + ((2048 - probability) >>> 5);
          } else {
            range = (range - bound) >>> 0;
            code = (code - bound) >>> 0;
            p[i] = probability - (probability >>> 5);

            i = IS_REP2 + state;
            probability = p[i];
            if (range < 0x100_0000) {
              range = (range << 8) >>> 0;
              code = ((code << 8) | input[from++]) >>> 0;
            }
            bound = Math.imul(range >>> 11, probability) >>> 0;
            distance = rep2;
            if (code < bound) {
              range = bound;
              p[i] = probability + ((2048 - probability) >>> 5);
            } else {
              range = (range - bound) >>> 0;
              code = (code - bound) >>> 0;
              p[i] = probability - (probability >>> 5);
              distance = rep3;
              rep3 = rep2;
            }
            rep2 = rep1;
          }
          rep1 = rep0;
          rep0 = distance;
        }
      }

      // The length: 8 short ones, 8 middle ones, 256 long ones.
      let length = 2;
      let tree = lengthTable + 2 + (positionState << 3);
      let leaves = 8;
      i = lengthTable;
      probability = p[i];
      if (range < 0x100_0000) {
        range = (range << 8) >>> 0;
        code = ((code << 8) | input[from++]) >>> 0;
      }
      bound = Math.imul(range >>> 11, probability) >>> 0;
      if (code < bound) {
        range = bound;
        p[i] = probability + ((2048 - probability) >>> 5);
      } else {
        range = (range - bound) >>> 0;
        code = (code - bound) >>> 0;
        p[i] = probability - (probability >>> 5);
        i = lengthTable + 1;
        probability = p[i];
        if (range < 0x100_0000) {
          range = (range << 8) >>> 0;
          code = ((code << 8) | input[from++]) >>> 0;
        }
        bound = Math.imul(range >>> 11, probability) >>> 0;
        if (code < bound) {
          range = bound;
          p[i] = probability + ((2048 - probability) >>> 5);
          length = 10;
          tree += 128;
        } else {
          range = (range - bound) >>> 0;
          code = (code - bound) >>> 0;
          p[i] = probability - (probability >>> 5);
          length = 18;
          tree = lengthTable + 2 + 256;
          leaves = 256;
        }
      }
      let node = 1;
      do {
        i = tree + node;
        probability = p[i];
        if (range < 0x100_0000) {
          range = (range << 8) >>> 0;
          code = ((code << 8) | input[from++]) >>> 0;
        }
        bound = Math.imul(range >>> 11, probability) >>> 0;
        if (code < bound) {
          range = bound;
          p[i] = probability + ((2048 - probability) >>> 5);
          node <<= 1;
        } else {
          range = (range - bound) >>> 0;
          code = (code - bound) >>> 0;
          p[i] = probability - (probability >>> 5);
          node = (node << 1) | 1;
        }
      } while (node < leaves);
      length += node - leaves;

      if (simple) {
        tree = DISTANCE_SLOT + ((length < 6 ? length - 2 : 3) << 6);
        node = 1;
        do {
          i = tree + node;
          probability = p[i];
          if (range < 0x100_0000) {
            range = (range << 8) >>> 0;
            code = ((code << 8) | input[from++]) >>> 0;
          }
          bound = Math.imul(range >>> 11, probability) >>> 0;
          if (code < bound) {
            range = bound;
            p[i] = probability + ((2048 - probability) >>> 5);
            node <<= 1;
          } else {
            range = (range - bound) >>> 0;
            code = (code - bound) >>> 0;
            p[i] = probability - (probability >>> 5);
            node = (node << 1) | 1;
          }
        } while (node < 64);
        const slot = node - 64;
        rep0 = slot;
        if (slot >= 4) {
          let footer = (slot >>> 1) - 1;
          rep0 = (2 | (slot & 1)) << footer;
          if (slot < 14) tree = DISTANCE_SPECIAL + rep0 - slot;
          else {
            // Bits of equal probability, then four from their own table.
            footer -= 4;
            let direct = 0;
            do {
              if (range < 0x100_0000) {
                range = (range << 8) >>> 0;
                code = ((code << 8) | input[from++]) >>> 0;
              }
              range >>>= 1;
              direct <<= 1;
              if (code >= range) {
                code = (code - range) >>> 0;
                direct |= 1;
              }
            } while (--footer > 0);
            rep0 = (rep0 + (direct << 4)) | 0;
            tree = DISTANCE_ALIGN;
            footer = 4;
          }
          node = 1;
          for (let bit = 0; bit < footer; bit++) {
            i = tree + node;
            probability = p[i];
            if (range < 0x100_0000) {
              range = (range << 8) >>> 0;
              code = ((code << 8) | input[from++]) >>> 0;
            }
            bound = Math.imul(range >>> 11, probability) >>> 0;
            if (code < bound) {
              range = bound;
              p[i] = probability + ((2048 - probability) >>> 5);
              node <<= 1;
            } else {
              range = (range - bound) >>> 0;
              code = (code - bound) >>> 0;
              p[i] = probability - (probability >>> 5);
              node = (node << 1) | 1;
              rep0 = (rep0 + (1 << bit)) | 0;
            }
          }
          if (rep0 === -1) {
            if (!marker) throw new DamagedStream('an LZMA end marker stands where none may be');
            break;
          }
        }
        state = state < 7 ? 7 : 10;
      } else state = state < 7 ? 8 : 11;

      if (rep0 < 0 || rep0 >= to - dictionary) throw reach(rep0 >>> 0, to - dictionary);
      if (to + length > stop) {
        // An LZMA2 chunk ends with a whole match; a stream that goes on is too long.
        throw tooMuch(out.length);
      }
      const distance = rep0 + 1;
      if (length > 48 && distance >= length) {
        out.copyWithin(to, to - distance, to - distance + length);
        to += length;
      } else for (const last = to + length; to < last; to++) out[to] = out[to - distance];
    }
    if (range < 0x100_0000) {
      code = ((code << 8) | input[from++]) >>> 0;
    }
    if (from > end) throw cutShort(end);
    this.state = state;
    this.rep0 = rep0;
    this.rep1 = rep1;
    this.rep2 = rep2;
    this.rep3 = rep3;
    if (ending !== 'sized' && code !== 0)
      throw new DamagedStream('the range coder of an LZMA stream does not end at 0');
    if (ending === 'exact' && from !== end) throw new DamagedStream(`an LZMA chunk leaves ${end - from} bytes unread`);
    return to;
  }
}

/** The "lzma alone" file: properties, dictionary size, unpacked size or -1, stream. Returns how many bytes were written. */
export function unlzmaAlone(input: Uint8Array, out: Uint8Array): number {
  if (input.length < 13) throw cutShort(input.length);
  const decoder = new LzmaDecoder();
  decoder.setProperties(input[0]);
  decoder.resetState();
  let size = 0;
  for (let i = 12; i >= 5; i--) size = size * 256 + input[i];
  const known = size < 2 ** 53; // -1 means that a marker ends the stream
  if (known && size > out.length) throw tooMuch(out.length);
  return decoder.decode(input, 13, input.length, out, 0, known ? size : out.length, 0, known ? 'sized' : 'marker');
}

const reach = (distance: number, there: number) =>
  new DamagedStream(`a match reaches ${distance + 1} bytes back, and ${there} are there`);
