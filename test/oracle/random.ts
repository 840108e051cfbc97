/** Random: the same numbers from the same name, on every host and in every version of Node.
 *
 * The vectors hold outcomes only; the states they belong to are made again from the name of their form. So this
 * generator (xoshiro128** of Blackman and Vigna, seeded by FNV-1a and splitmix) may never change.
 * Next: test/oracle/states.ts. */

export class Random {
  readonly #s = new Uint32Array(4);
  readonly #words = new Uint32Array(2);
  readonly #wide = new BigUint64Array(this.#words.buffer);

  constructor(name: string) {
    let h = 0x811c9dc5;
    for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193);
    for (let i = 0; i < 4; i++) {
      h = (h + 0x9e3779b9) | 0;
      let z = Math.imul(h ^ (h >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      this.#s[i] = z ^ (z >>> 15);
    }
  }

  /** 32 random bits. */
  next(): number {
    const s = this.#s;
    const r = Math.imul(s[1], 5);
    const result = Math.imul((r << 7) | (r >>> 25), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 11) | (s[3] >>> 21);
    return result;
  }

  /** 64 random bits. */
  wide(): bigint {
    this.#words[0] = this.next();
    this.#words[1] = this.next();
    return this.#wide[0];
  }

  below(n: number): number {
    return this.next() % n;
  }

  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(percent: number): boolean {
    return this.below(1000) < percent * 10;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)];
  }

  /** A register or memory value that is likely to sit on some edge. */
  value(): bigint {
    switch (this.below(8)) {
      case 0:
        return BigInt(this.below(64));
      case 1:
        return BigInt.asUintN(64, -BigInt(this.below(64)));
      case 2: // around a sign boundary of some width, with noise above it
        return BigInt.asUintN(64, (1n << BigInt(this.pick(EDGES))) - 1n + BigInt(this.below(3)));
      case 3: {
        const edge = (1n << BigInt(this.pick(EDGES))) - 1n + BigInt(this.below(3));
        return BigInt.asUintN(64, edge ^ (this.wide() << 32n));
      }
      case 4: // a few bits
        return (1n << BigInt(this.below(64))) | (1n << BigInt(this.below(64)));
      default:
        return this.wide();
    }
  }
}

const EDGES = [7, 8, 15, 16, 31, 32, 63, 64];
