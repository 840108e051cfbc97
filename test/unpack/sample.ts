/** The bytes that the fixtures hold: made here, packed by the command-line tools (fixtures/make). */

/** About 300 KB with what tells decoders apart: x86 calls, bytes that only look like calls, long runs, short periods,
 * bytes without order, and copies from far back. Packs to a few KB. */
export function sample(): Uint8Array {
  const parts = [code(9000), new Uint8Array(70_000), lookalikes(1200), period(90_000), noise(1500)];
  const first = concat(parts);
  return concat([
    first,
    first.subarray(100, 8000),
    Uint8Array.from(new TextEncoder().encode('end of kernel\n'.repeat(40))),
  ]);
}

/** 2 KB of the same kind, for tests that unpack thousands of times. */
export function smallSample(): Uint8Array {
  return concat([code(500), new Uint8Array(700), lookalikes(100), period(500), noise(80), code(120)]);
}

/** A fixed sequence of pseudo-random words. */
function random(): () => number {
  let state = 0x2545_f491;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Function-like bytes with calls to a few targets; relative, so only the x86 filter makes them alike. */
function code(length: number): Uint8Array {
  const next = random();
  const out: number[] = [];
  const bodies = [
    [0x55, 0x48, 0x89, 0xe5],
    [0x31, 0xc0],
    [0x48, 0x8b, 0x47, 0x10],
    [0x85, 0xc0, 0x74, 0x05],
    [0x5d, 0xc3],
  ];
  while (out.length < length) {
    out.push(...bodies[next() % bodies.length]);
    if (next() % 3 === 0) {
      const target = (next() % 8) * 0x400;
      const relative = target - (out.length + 5);
      out.push(
        next() % 4 ? 0xe8 : 0xe9,
        relative & 255,
        (relative >> 8) & 255,
        (relative >> 16) & 255,
        (relative >> 24) & 255,
      );
    }
  }
  return Uint8Array.from(out.slice(0, length));
}

function lookalikes(length: number): Uint8Array {
  const next = random();
  const choices = [0xe8, 0xe9, 0x00, 0xff, 0xe8, 0x00, 0x90];
  return Uint8Array.from({ length }, () => choices[next() % choices.length]);
}

const period = (length: number) => Uint8Array.from({ length }, (_, i) => (i % 7) * 3 + (i % 11 === 0 ? 1 : 0));

function noise(length: number): Uint8Array {
  const next = random();
  return Uint8Array.from({ length }, () => next() >>> 24);
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
