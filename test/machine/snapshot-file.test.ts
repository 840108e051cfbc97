import { beforeAll, describe, expect, it } from 'vitest';
import { ImageError, VmError } from '../../src/base/errors.ts';
import type { Saved } from '../../src/base/saved.ts';
import { decodeSaved, encodeSaved } from '../../src/base/saved-codec.ts';
import { bytesSource, nodeSnapshotHost as host } from '../../src/cli/snapshot-host.ts';
import { flatImage } from '../../src/image/parse.ts';
import { Machine as Library, planBoot, readKernel, SnapshotError } from '../../src/index.ts';
import { Machine } from '../../src/machine/machine.ts';
import { machineSnapshot, openSnapshot, restoreMachine, snapshotFacts } from '../../src/machine/snapshot.ts';
import { readSections, type Section, snapshotPieces } from '../../src/machine/snapshot-file.ts';

/** A machine of a few frames, so that each byte of its file can be looked at. */
const COUNT = [0xb9, 0x40, 0x42, 0x0f, 0, 0xe2, 0xfe, 0xf4]; // mov ecx,1000000; loop $; hlt
const SEED = 20260102;

let file: Uint8Array;
beforeAll(async () => {
  const plan = planBoot(flatImage('code', Uint8Array.from(COUNT)), { via: 'flat32', memory: '2M' });
  const machine = await Machine.create(plan, {});
  machine.runSync({ maxInstructions: 500 });
  file = new Uint8Array(Buffer.concat([...machineSnapshot(machine, host, { kernelPath: 'code.bin' })]));
});

const open = (bytes: Uint8Array) => openSnapshot(bytesSource('it.snap', bytes), host);
/** Everything that reading it does. */
const restore = async (bytes: Uint8Array) => restoreMachine(open(bytes));
const complaint = async (bytes: Uint8Array): Promise<Error> => {
  try {
    await restore(bytes);
  } catch (error) {
    return error as Error;
  }
  throw new Error('it was taken');
};
const changed = (at: number, flip: number): Uint8Array => {
  const bytes = file.slice();
  bytes[at] ^= flip;
  return bytes;
};
const sections = (bytes = file): Section[] => [...readSections(bytesSource('it.snap', bytes), host)];
const written = (list: Section[]) => new Uint8Array(Buffer.concat([...snapshotPieces(list, host)]));

describe('the file of a snapshot', () => {
  it('says what it is of', () => {
    const facts = snapshotFacts(bytesSource('it.snap', file), host);
    expect(facts).toMatchObject({ via: 'flat32', cmdline: '', memorySize: 0x20_0000, instructions: 500 });
    expect(facts.kernel).toMatchObject({ name: 'code', path: 'code.bin' });
    expect(facts.zeropage).toMatch(/^\d+\.\d+\.\d+/);
  });

  it('is small: empty memory takes no room', () => {
    expect(file.length).toBeLessThan(20_000);
  });

  it('is refused wherever a byte of it was changed', async () => {
    const random = randomFrom(SEED);
    const places = [...Array(200).keys(), ...Array.from({ length: 300 }, () => random(file.length))];
    for (const at of places) {
      const error = await complaint(changed(at, 1 << random(8)));
      expect(error, `byte ${at}`).toBeInstanceOf(ImageError);
      expect((error as VmError).fix.length, `byte ${at}`).toBeGreaterThan(10);
    }
  });

  it('is refused wherever it was cut', async () => {
    const ends = [
      0,
      1,
      7,
      8,
      12,
      15,
      16,
      17,
      79,
      80,
      81,
      ...Array.from({ length: 60 }, (_, i) => Math.floor((i * file.length) / 60)),
    ];
    for (const end of ends) {
      const error = await complaint(file.slice(0, end));
      expect(error, `cut at ${end}`).toBeInstanceOf(SnapshotError);
    }
    const longer = new Uint8Array(file.length + 1);
    longer.set(file);
    expect((await complaint(longer)).message).toMatch(/something lies behind its end/);
  });

  const wrong: readonly [what: string, make: () => Uint8Array | Promise<Uint8Array>, says: RegExp][] = [
    ['a kernel', async () => (await readKernel('tiny')).bytes, /is no snapshot of a machine[\s\S]*"ZPSNAP"/],
    ['nothing', () => new Uint8Array(0), /is no snapshot/],
    ['one of a newer version', () => changed(8, 2), /another version[\s\S]*its format is 3; this version of zeropage reads 1/],
    ['one with a section twice', () => written([...sections().slice(0, 2), ...sections()]), /"facts", version 1, is not known/],
    ['one with a section of the future', () => written([...sections(), { name: 'gpu', version: 1, bytes: new Uint8Array(1) }]), /"gpu", version 1/],
    ['one with a later form of a section', () => written(sections().map((one) => (one.name === 'state' ? { ...one, version: 2 } : one))), /"state", version 2/],
    ['one without its state', () => written(sections().filter(({ name }) => name !== 'state')), /no section "state"/],
    ['one whose sections changed places', () => {
      const [head, ...rest] = [...snapshotPieces(sections(), host)];
      return new Uint8Array(Buffer.concat([head, ...rest.slice(2, 4), ...rest.slice(0, 2), ...rest.slice(4)]));
    }, /not those of one file/],
    ['memory that is not the machine’s', () => written([...sections(), { name: 'memory', version: 1, bytes: frameAt(0x1000) }]), /frame 4096, which comes twice or is not among 512/],
    ['memory twice', () => written([...sections(), sections().find(({ name }) => name === 'memory') as Section]), /comes twice/],
    ['memory of another form', () => written([...sections(), { name: 'memory', version: 1, bytes: new Uint8Array(3) }]), /memory of 0 frames in 3 bytes/],
  ]; // biome-ignore format: a table
  for (const [what, make, says] of wrong) {
    it(`is refused when it is ${what}`, async () => {
      const error = await complaint(await make());
      expect(error).toBeInstanceOf(ImageError);
      expect(error.message).toMatch(says);
    });
  }

  it('is refused when its CPU showed something else, as that of another version may', async () => {
    const list = sections().map((one) => {
      if (one.name !== 'state') return one;
      const state = decodeSaved(one.bytes, 'state') as Record<string, Saved>;
      return { ...one, bytes: encodeSaved({ ...state, features: 'FPU TSC' }) };
    });
    expect((await complaint(written(list))).message).toMatch(/its CPU shows FPU TSC; the one of this version: .*SSE2/);
  });

  it('claims no size that would be allocated before it is there', async () => {
    for (const field of [16 + 16 + 8, 16 + 16 + 12]) {
      const bytes = file.slice();
      new DataView(bytes.buffer).setUint32(field, 0xffff_fff0, true);
      expect((await complaint(bytes)).message).toMatch(/claims|in the middle of a section/);
    }
  });

  it('whose sums are right and whose values are not is refused, or gives a machine that runs', async () => {
    // As if somebody had written it by hand: each byte of the state changed, the sums made again.
    const list = sections();
    const at = list.findIndex(({ name }) => name === 'state');
    const random = randomFrom(SEED);
    let refused = 0;
    for (let round = 0; round < 150; round++) {
      const bytes = list[at].bytes.slice();
      bytes[random(bytes.length)] ^= 1 << random(8);
      const crafted = written(list.map((one, i) => (i === at ? { ...one, bytes } : one)));
      try {
        const machine = await restore(crafted);
        machine.runSync({ maxInstructions: 2000 });
        machine.outcome();
      } catch (error) {
        refused++;
        expect(error, `round ${round}: ${(error as Error).stack}`).toBeInstanceOf(VmError);
      }
    }
    expect(refused).toBeLessThan(150);
  });
});

/** Numbers below a bound, the same in every run. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function frameAt(frame: number): Uint8Array {
  const bytes = new Uint8Array(8 + 4096);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 1, true);
  view.setUint32(4, frame, true);
  return bytes;
}

describe('the library', () => {
  it('saves and restores machines as bytes', async () => {
    const plan = planBoot(await readKernel('tiny', 'pvh'), { via: 'pvh', memory: '64M' });
    const machine = await Library.create(plan);
    machine.runSync({ until: 'start_kernel' });
    const bytes = Library.snapshot(machine);
    const [one, other] = [await Library.restore(bytes), await Library.restore(bytes, { expect: 'verdict: ' })];
    const end = machine.runSync();
    expect(one.symbolise(one.vcpu.state().rip)).toBe('start_kernel');
    expect(one.runSync()).toEqual(end);
    expect(one.outcome()).toEqual(machine.outcome());
    expect(other.runSync().kind).toBe('expected');
    await expect(Library.restore(bytes.subarray(1))).rejects.toThrow(SnapshotError);
  });
});
