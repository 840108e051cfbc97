import { describe, expect, it } from 'vitest';
import { coreBytes } from '../../src/engine/core-bytes.ts';
import { LOOP_BYTES } from '../../src/engine/emit/hot.ts';

/** Sizes of the function bodies of a WebAssembly module, largest first. */
function bodySizes(module: Uint8Array): number[] {
  const sizes: number[] = [];
  let at = 8; // magic and version
  const leb = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = module[at++];
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  };
  while (at < module.length) {
    const section = module[at++];
    const end = leb() + at;
    if (section === 10) {
      for (let count = leb(); count > 0; count--) {
        const size = leb();
        sizes.push(size);
        at += size;
      }
    }
    at = end;
  }
  return sizes.sort((a, b) => b - a);
}

describe("the interpreter's loops", () => {
  it('stay small enough for the better register allocator of the host', () => {
    const [largest, second] = bodySizes(coreBytes());
    expect(largest).toBeLessThan(LOOP_BYTES);
    expect(second).toBeGreaterThan(20_000); // these are the loops
  });
});
