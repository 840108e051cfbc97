/** Descriptor tables, stacks and selectors made of noise and of near misses: whatever a helper does with them, it either
 * completes or faults with registers and RAM untouched (World.run compares them), and nothing but GuestFault and Unbuilt
 * is ever thrown. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type HelperInsn, Unbuilt } from '../../../src/engine/core.ts';
import { SEG } from '../../../src/engine/state.ts';
import { descriptorHelpers } from '../../../src/engine/system/descriptors.ts';
import { deliverException, deliverInterrupt, exceptionHelpers } from '../../../src/engine/system/exceptions.ts';
import { farHelpers } from '../../../src/engine/system/far.ts';
import { isConforming, segmentHelpers } from '../../../src/engine/system/segments.ts';
import { stackFlagHelpers } from '../../../src/engine/system/stack-flags.ts';
import { syscallHelpers } from '../../../src/engine/system/syscall.ts';
import { isNull } from '../../../src/x86/descriptor.ts';
import { insn, TABLES, type World, world32, world64 } from './world.ts';

/** A byte of access rights that is often a plausible one. */
const rights = fc.oneof(
  fc.constantFrom(
    0x9b,
    0x9a,
    0x93,
    0xfb,
    0xf3,
    0xbb,
    0xb3,
    0x9e,
    0x13,
    0x1b,
    0x8c,
    0xec,
    0xee,
    0x8e,
    0x8f,
    0x89,
    0x85,
    0x82,
  ),
  fc.nat(0xff),
);
/** The worlds' own code and data segments, which the noise leaves alone: each check then has inputs that pass it. */
const GOOD = [0x08, 0x89, 0xba, 0x2b, 0x10, 0x91, 0xd2, 0x23];
const gateRights = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(0xee, 0xef, 0x8e, 0x8f, 0xae, 0xe6, 0x6e, 0xe5) },
  fc.nat(0xff),
);
const vector = fc.oneof(fc.nat(33), fc.nat(0xff));
const selector = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...GOOD) },
  fc.nat(63).map((i) => i * 4 + (i & 3)),
  fc.tuple(fc.nat(31), fc.nat(7)).map(([i, low]) => i * 8 + low),
  fc.nat(0xffff),
);
const descriptor = fc
  .tuple(
    fc.nat(0xffff),
    fc.constantFrom(0, 0x2_0000, 0x1234_0000),
    rights,
    fc.nat(0xf),
    fc.constantFrom(0xc, 0xa, 4, 0, 0xe),
    selector,
  )
  .map(([limit, base, access, high, flags, sel]) => {
    const isGate = (access & 0x10) === 0 && (access & 7) >= 4;
    const low = isGate ? 0x1000 | (sel << 16) : (limit | (base << 16)) >>> 0;
    const top = isGate
      ? access << 8
      : ((base >>> 16) & 0xff) | (access << 8) | (high << 16) | (flags << 20) | (base & 0xff00_0000);
    return BigInt(low >>> 0) | (BigInt(top >>> 0) << 32n);
  });
const word = fc.oneof(
  { weight: 2, arbitrary: selector.map(BigInt) },
  fc.constantFrom(
    0n,
    0x2_0000n,
    0x4_1000n,
    0x5_0000n,
    0xffn,
    0x8000n,
    1n << 47n,
    0xffff_ffff_8000_0000n,
    0x2_0004_1000n,
  ),
  fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
);

const HELPERS: Record<string, (core: World['core'], insn: HelperInsn) => unknown> = {
  ...farHelpers,
  ...segmentHelpers,
  ...descriptorHelpers,
  ...exceptionHelpers,
  ...stackFlagHelpers,
  ...syscallHelpers,
};
/** Far transfers thrice as often as the rest. */
const names = [...Object.keys(HELPERS), ...Object.keys(farHelpers), ...Object.keys(farHelpers), 'int', 'int'];

const scene = fc.record({
  is64: fc.boolean(),
  compat: fc.boolean(),
  level: fc.nat(3),
  name: fc.constantFrom(...names),
  gdt: fc.array(descriptor, { minLength: 20, maxLength: 20 }),
  idt: fc.array(fc.tuple(vector, selector, gateRights, fc.constantFrom(0, 0, 1, 7)), { maxLength: 12 }),
  tss: fc.array(word, { minLength: 8, maxLength: 8 }),
  stack: fc.array(word, { minLength: 8, maxLength: 8 }),
  sp: fc.oneof(fc.constant(undefined), word),
  /** A level whose IRET frame lies on the stack, with one word of it spoiled or none. */
  frame: fc.oneof(fc.constant(undefined), fc.tuple(fc.nat(3), fc.nat(8))),
  selectors: fc.array(selector, { minLength: 4, maxLength: 4 }),
  flags: fc.nat(0x3f_ffff),
  size: fc.constantFrom(2, 4, 8),
  reg: fc.nat(7),
  memory: fc.boolean(),
  address: fc.constantFrom(0x4_2000n, 0x1_4000n, 0x4_2ffdn, 0x5_fffen, 0xffff_fffen),
  vector: fc.nat(0xff),
  limits: fc.tuple(
    fc.constantFrom(0x1ff, 0x9f, 0x44),
    fc.constantFrom(0xfff, 0x7ff, 0x123),
    fc.constantFrom(0x67, 0x2f, 5),
  ),
  absent: fc.array(fc.nat(0x5f), { maxLength: 3 }),
});
type Scene = typeof scene extends fc.Arbitrary<infer T> ? T : never;

function stackOf(s: Scene): bigint[] {
  if (s.frame === undefined) return s.stack;
  const [level, spoiled] = s.frame;
  const good = [0x4_1000n, BigInt(GOOD[level]), s.stack[2], 0x5_0000n, BigInt(GOOD[level + 4])];
  return good.map((value, i) => (i === spoiled ? s.stack[i] : value));
}

/** Selector of a far pointer: good for the level when there is a frame too. */
const targetOf = (s: Scene): number => (s.frame === undefined ? s.selectors[0] : GOOD[s.level]);

function build(s: Scene): World {
  const w = (s.is64 ? world64 : world32)(s.level);
  const { state, ram } = w.core;
  if (s.is64 && s.compat && (s.level === 0 || s.level === 3)) w.enterCompat(s.level);
  let at = 0x30;
  for (const bits of s.gdt) {
    while (GOOD.some((good) => (good & 0xfff8) === at)) at += 8;
    w.gdt(at, bits);
    at += 8;
  }
  for (const [v, sel, access, ist] of s.idt) {
    const at = TABLES.idt + v * (s.is64 ? 16 : 8);
    ram.setUint32(at, 0x2000 | (sel << 16), true);
    ram.setUint32(at + 4, (access << 8) | ist | 0x1_0000, true);
  }
  for (const [i, value] of s.tss.entries()) if (i % 3 === 0) ram.setBigUint64(TABLES.tss + 4 + 8 * i, value, true);
  if (s.sp !== undefined) state.setGpr(4, s.sp);
  else
    for (const [i, value] of stackOf(s).entries()) {
      const size = s.size === 2 ? 2 : s.size;
      w.core.writeLinear(state.gpr(4) + BigInt(i * size), size as 2 | 4 | 8, value, true);
    }
  for (const [i, sel] of s.selectors.entries()) state.setGpr(i, BigInt(sel));
  for (const at of [0x4_2000, 0x1_4000]) {
    ram.setBigUint64(at, s.stack[0], true);
    ram.setUint16(at + (s.size === 2 ? 2 : 4), targetOf(s), true);
  }
  state.rflags = (s.flags & (s.memory ? ~0x2_4000 : ~0x2_0000)) | 2; // without VM, and half the time without NT
  state.set64('STAR', s.stack[1]);
  state.set64('SYSENTER_CS', s.stack[2]);
  state.gdtrLimit = s.limits[0];
  state.idtrLimit = s.limits[1];
  state.setSegment(SEG.TR, { ...state.segment(SEG.TR), limit: s.limits[2] });
  if (s.is64) for (const page of s.absent) if (page > 4) w.page(page << 12, page & 1 ? 0 : 0x65);
  w.core.modeChanged();
  return w;
}

/** What must hold after any transfer. Fast system calls choose their own SS. */
function checkWhole(w: World, s: Scene): void {
  const { state } = w.core;
  const code = state.segment(SEG.CS);
  expect([0, 1, 2, 3]).toContain(state.cpl);
  expect(code.attributes & 0x98).toBe(0x98); // present code
  expect(code.selector & 3).toBe(state.cpl);
  const dpl = (code.attributes >> 5) & 3;
  if (isConforming(code.attributes)) expect(dpl).toBeLessThanOrEqual(state.cpl);
  else expect(dpl).toBe(state.cpl);
  expect(state.rflags & 2).toBe(2);
  expect(state.rflags & 0x2_0000).toBe(0);
  if (s.name.startsWith('sys')) return;
  if (!state.is64) expect(state.rip <= 0xffff_ffffn).toBe(true);
  const stack = state.segment(SEG.SS);
  if (isNull(stack.selector)) expect(state.longMode && state.cpl < 3).toBe(true);
  else expect((stack.attributes >> 5) & 3).toBe(state.cpl);
}

const instruction = (s: Scene): HelperInsn =>
  insn({
    rip: 0x1_1000n,
    nextRip: 0x1_1003n,
    operandSize: (s.size === 8 && !s.is64 ? 4 : s.size) as 2 | 4 | 8,
    reg: s.reg,
    rm: s.reg & 3,
    opcode: [0x06, 0x0e, 0x16, 0x1e, 0xa0, 0xa8][s.reg % 6] + (s.name === 'pop_sreg' && s.reg % 6 !== 1 ? 1 : 0),
    immediate: s.name === 'int' ? BigInt(s.idt[0]?.[0] ?? s.vector) : s.stack[0] & 0xffff_ffffn,
    immediate2: targetOf(s),
    ...(s.memory ? { at: s.address } : {}),
  });

describe('noise in every table', () => {
  test('no instruction leaves half a transfer behind, or throws what is not a guest fault', () => {
    const completed = new Set<string>();
    const faulted = new Set<string>();
    fc.assert(
      fc.property(scene, (s) => {
        const w = build(s);
        const i = instruction(s);
        if (s.name === 'pop_sreg' && i.opcode === 0x0e) return; // no such instruction
        const outcome = w.run((core) => HELPERS[s.name](core as World['core'], i));
        (outcome === undefined ? completed : faulted).add(s.name);
        checkWhole(w, s);
      }),
      { numRuns: 3000, seed: 20 },
    );
    // Both outcomes were seen of what can have both, or the noise is not worth its name.
    for (const name of [...Object.keys(farHelpers), 'int', 'pop_sreg', 'mov_to_sreg']) {
      expect([name, completed.has(name), faulted.has(name)]).toEqual([name, true, true]);
    }
  });

  test('delivery ends in a handler or in a triple fault that changed nothing', () => {
    const ends = new Set<string>();
    fc.assert(
      fc.property(scene, fc.boolean(), (s, external) => {
        const w = build(s);
        const vector = s.idt[0]?.[0] ?? s.vector;
        const before = w.snapshot();
        let end: string;
        try {
          end = (external ? deliverInterrupt(w.core, vector) : deliverException(w.core, vector & 31, 0)) ?? 'handler';
        } catch (thrown) {
          if (!(thrown instanceof Unbuilt)) throw thrown;
          end = 'unbuilt';
        }
        ends.add(end);
        if (end === 'handler') expect(w.core.state.rip).not.toBe(s.level === 3 ? 0x4_1000n : 0x1_1000n);
        else expect(Buffer.compare(w.snapshot(), before)).toBe(0);
        checkWhole(w, s);
      }),
      { numRuns: 1500, seed: 21 },
    );
    expect([...ends].sort()).toEqual(['handler', 'triple-fault', 'unbuilt']);
  });
});
