/** Whatever a file's headers say, there is a sound plan or a VmError: nothing overlaps, nothing leaves RAM, the initrd
 * stays out of what the kernel claims, and no other exception comes out. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VmError } from '../../src/base/errors.ts';
import { MiB } from '../../src/base/numbers.ts';
import { planJson } from '../../src/boot/describe.ts';
import { BOOT_PROTOCOLS, type BootPlan, type BootSpec, placePlan, planBoot } from '../../src/boot/index.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { SetupHeader } from '../../src/layout/setup-header.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { isRam } from '../../src/memory/memory-map.ts';
import { bzImageFile, elfFile, linuxNote, multibootBytes, pvhNote } from './files.ts';

const PATHS = [...BOOT_PROTOCOLS.map(({ name }) => name), 'auto'] as const;
const RAM = 64 * MiB;
const memory = new GuestMemory(new ArrayBuffer(RAM), 0, RAM);

/** Plans, and checks what was planned; true when there was a plan. */
function attempt(bytes: Uint8Array, spec: BootSpec): boolean {
  let plan: BootPlan;
  try {
    plan = planBoot(parseKernel('kernel', bytes), spec);
  } catch (error) {
    if (error instanceof VmError) return false;
    throw error;
  }
  checkSound(plan);
  if (plan.memorySize <= RAM) placePlan(plan, memory);
  JSON.parse(JSON.stringify(planJson(plan, () => '')));
  return true;
}

/** Plain conditions: `expect` costs more than the plan. */
function checkSound(plan: BootPlan) {
  const hold = (condition: boolean, belief: string) => {
    if (!condition) throw new Error(`${plan.via}: not true that ${belief}`);
  };
  const apart = (a: { at: number; length: number }, b: { at: number; length: number }) =>
    a.at >= b.at + b.length || b.at >= a.at + a.length;
  for (const [i, write] of plan.writes.entries()) {
    hold(isRam(plan.memoryMap, write.at, write.length), `${write.what} lies in RAM`);
    for (const other of plan.writes.slice(0, i)) hold(apart(write, other), `${write.what} is apart from ${other.what}`);
  }
  const initrd = plan.writes.find(({ what }) => what === 'initrd');
  for (const claim of plan.claims) {
    hold(isRam(plan.memoryMap, claim.at, claim.length), `${claim.what} lies in RAM`);
    if (initrd) hold(apart(initrd, claim), `the initrd is apart from ${claim.what}`);
  }
  if (initrd) hold(initrd.at % 0x1000 === 0, 'the initrd is page aligned');
  const { rip } = plan.state;
  hold(
    plan.writes.some(({ at, length }) => rip >= BigInt(at) && rip < BigInt(at + length)),
    'it enters what it loaded',
  );
}

/** Mostly a request that could work, so that the damage in the file decides; sometimes one that cannot. */
const spec: fc.Arbitrary<BootSpec> = fc.record({
  via: fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom('auto', 'linux32', 'linux64', 'pvh') },
    fc.constantFrom(...PATHS),
  ),
  memory: fc.oneof(
    { weight: 6, arbitrary: fc.constant(RAM) },
    fc.constantFrom(2, 3, 16, 17, 24, 25, 1024, 3072, 3073).map((mib) => mib * MiB),
    fc.nat(RAM),
  ),
  cmdline: fc.oneof({ weight: 3, arbitrary: fc.constant('') }, fc.string({ maxLength: 40 })),
  initrd: fc.option(
    fc.nat(3 * MiB).map((length) => new Uint8Array(length)),
    { nil: undefined, freq: 1 },
  ),
  load: fc.option(
    fc.oneof(fc.constantFrom(0, 0x500, 0x9_f000, 0x10_0000, 0x20_0000, 0x100_0000, 2 ** 40), fc.integer()),
    { nil: undefined, freq: 1 },
  ),
}) as fc.Arbitrary<BootSpec>;

/** Values around what matters to a loader, and any others. */
const interesting = (bits: number) =>
  fc.oneof(
    fc.constantFrom(
      ...[
        0n,
        1n,
        0x1000n,
        0x10_0000n,
        0x20_0000n,
        0x100_0000n,
        0x1ff_ffffn,
        0x400_0000n,
        0x7fff_ffffn,
        0xffff_ffffn,
        (1n << 64n) - 1n,
      ].map((value) => BigInt.asUintN(bits, value)),
    ),
    fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n }),
  );

describe('arbitrary setup headers', () => {
  const field = (name: string) => {
    const { size, kind } = SetupHeader.fields[name as 'version'];
    return interesting(size * 8).map((value): [string, number | bigint] => [
      name,
      (kind as string) === 'u64' ? value : Number(value),
    ]);
  };
  const names = Object.keys(SetupHeader.fields).filter((name) => !['header', 'boot_flag'].includes(name));
  const changes = fc.subarray(names, { maxLength: 2 }).chain((some) => fc.tuple(...some.map(field))).map((rows) => Object.fromEntries(rows)); // biome-ignore format: one line

  it('give a sound plan or a VmError, both often enough to mean something', () => {
    let plans = 0;
    fc.assert(fc.property(changes, spec, (fields, request) => { plans += attempt(bzImageFile(fields), request) ? 1 : 0; }), { numRuns: 400 }); // biome-ignore format: one line
    expect(plans).toBeGreaterThan(50);
    expect(plans).toBeLessThan(350);
  });
});

describe('arbitrary ELF kernels', () => {
  const address = fc.oneof(fc.nat(RAM), interesting(64), fc.constantFrom(0x10_0000, 0x100_0000, 0x100_1000));
  const segment = fc.record({
    paddr: address,
    vaddr: interesting(64),
    bytes: fc.nat(300).map((length) => new Uint8Array(length)),
    memsz: fc.oneof(fc.nat(0x4000), fc.nat(RAM), interesting(48).map(Number)),
    type: fc.constantFrom(1, 1, 1, 4, 7),
  });
  const kernel = fc.record({
    bits: fc.constant(64 as const),
    entry: address,
    segments: fc.array(segment, { maxLength: 5 }),
    notes: fc.constantFrom<(typeof linuxNote)[][]>(
      [],
      [linuxNote],
      [pvhNote(0x10_0000)],
      [linuxNote, pvhNote(0x100_0000)],
    ),
  });

  it('give a sound plan or a VmError', () => {
    fc.assert(fc.property(kernel, spec, (elf, request) => { attempt(elfFile(elf), request); }), { numRuns: 400 }); // biome-ignore format: one line
  });

  it('with segments side by side, entered in one of them, give a sound plan', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 0x8000 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(sizes, fc.nat(1000), (lengths, where) => {
        let paddr = 0x100_0000;
        const segments = lengths.map((memsz) => {
          const one = { paddr, bytes: new Uint8Array(memsz >> 1), memsz };
          paddr += memsz;
          return one;
        });
        const entry = 0x100_0000 + (where % (paddr - 0x100_0000));
        expect(
          attempt(elfFile({ segments, entry, notes: [linuxNote, pvhNote(entry)] }), { memory: RAM, via: 'linux64' }),
        ).toBe(true);
        expect(
          attempt(elfFile({ segments, entry, notes: [linuxNote, pvhNote(entry)] }), { memory: RAM, via: 'pvh' }),
        ).toBe(true);
      }),
      { numRuns: 100 },
    );
  });
});

describe('arbitrary Multiboot headers', () => {
  const word = interesting(32).map(Number);
  const addresses = fc.record({
    header_addr: word,
    load_addr: word,
    load_end_addr: word,
    bss_end_addr: word,
    entry_addr: word,
  });
  const near = fc.record({ header_addr: fc.constant(0x10_0000), load_addr: fc.constant(0x10_0000), load_end_addr: fc.nat(0x3000).map((n) => 0x10_0000 + n), bss_end_addr: fc.nat(RAM), entry_addr: fc.nat(0x1800).map((n) => 0x10_0000 + n) }); // biome-ignore format: one line
  it('give a sound plan or a VmError', () => {
    const flags = fc.constantFrom(0, 3, 1 << 16, 0x1_0007, 0x1_0100);
    fc.assert(fc.property(flags, fc.oneof(addresses, near), spec, (bits, fields, request) => { attempt(multibootBytes(bits, fields), request); }), { numRuns: 400 }); // biome-ignore format: one line
  });
});

describe('a file damaged in its headers', () => {
  const files: [string, Uint8Array, number, number][] = [
    ['a bzImage', bzImageFile(), 0x1f1, 0x290],
    ['an ELF file', elfFile({ segments: [{ paddr: 0x100_0000, bytes: new Uint8Array(64) }], notes: [linuxNote, pvhNote(0x100_0000)] }), 0, 0x100],
    ['a Multiboot kernel', multibootBytes(1 << 16, { header_addr: 0x10_0000, load_addr: 0x10_0000, entry_addr: 0x10_0030 }), 0, 48],
  ]; // biome-ignore format: a table

  it.each(files)('%s: each byte flipped, on every path', (_, file, from, to) => {
    for (let at = from; at < Math.min(to, file.length); at++) {
      for (const flip of [0xff, 0x01]) {
        const damaged = file.slice();
        damaged[at] ^= flip;
        for (const via of PATHS) attempt(damaged, { via, memory: RAM });
      }
    }
  });

  it.each(files)('%s: cut short at each byte, on every path', (_, file, _from, to) => {
    for (let length = 0; length < Math.min(to, file.length); length++) {
      for (const via of PATHS) attempt(file.subarray(0, length), { via, memory: RAM });
    }
  });
});
