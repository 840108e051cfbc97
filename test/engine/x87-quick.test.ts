/** The quick way through common x87 instructions, held to the complete one: any state, the same to the bit or untouched. */
import { describe, expect, test } from 'vitest';
import type { HelperRecord } from '../../src/engine/blocks.ts';
import { MODE } from '../../src/engine/mode.ts';
import { REC } from '../../src/engine/record.ts';
import { BLOCKS, SEG, STATE, TLB_SUPERVISOR } from '../../src/engine/state.ts';
import { fpuHelpers, resetFpu } from '../../src/engine/system/fpu-state.ts';
import { x87Helpers } from '../../src/engine/system/x87.ts';
import { QuickX87 } from '../../src/engine/x87-quick.ts';
import { CR0, CR4 } from '../../src/x86/constants.ts';
import { flatCode64, flatData } from '../../src/x86/vcpu-state.ts';
import { Random } from '../oracle/random.ts';
import { insn, TestCore } from './test-core.ts';

const AT = 0x2000;
const PAGE = 0x40_0000;
const OFFSET = 0x123;
const ROUNDS = 1500;

const core = new TestCore();
const { state } = core;
state.setSegment(SEG.CS, flatCode64(8));
state.setSegment(SEG.DS, flatData(16));
state.set64('EFER', 0x500n);
state.set64('CR0', BigInt(CR0.PE | CR0.NE | CR0.MP));
state.set64('CR4', BigInt(CR4.OSFXSR));
state.view.setInt32(STATE.MODE, 2 | MODE.STACK_32 | MODE.FLAT_ES | MODE.FLAT_CS | MODE.FLAT_SS | MODE.FLAT_DS, true);
state.view.setInt32(STATE.TLB, TLB_SUPERVISOR, true);
state.view.setInt32(STATE.CURRENT, BLOCKS, true);
state.view.setUint16(BLOCKS + REC.OFFSET, OFFSET, true);
state.view.setInt32(STATE.PAGE_BASE, PAGE, true);
state.view.setBigInt64(STATE.RIP_MASK, -1n, true);
core.writeLinear(BigInt(AT), 8, 0n); // both tables know the page
core.readLinear(BigInt(AT), 8);
const { table } = new QuickX87(core.buffer);

/** The address is RBX + 4 RCX - 16. */
const MEMORY = { isMemory: true, base: 3, index: 1, scale: 2, displacement: -16, segment: SEG.DS, addressBits: 64 };

const ONES = (1n << 63n) - 1n;
function prepare(random: Random, name: string): void {
  resetFpu(state);
  const { view } = state;
  const at = STATE.FXSAVE;
  view.setUint16(
    at,
    random.pick([0x37f, 0x37f, 0x37f, 0x37f, 0xf7f, 0x27f, 0x37e, 0x77f, 0x140 | random.below(64)]),
    true,
  );
  const top = random.below(8);
  const sticky = random.pick([0, 0, 0x20, 0x4720]);
  const pends = (sticky & ~view.getUint16(at, true) & 0x3f) !== 0;
  view.setUint16(at + 2, (top << 11) | sticky | (pends ? 0x8080 : 0), true);
  const full = random.chance(15) ? random.below(256) : 0xff;
  view.setUint8(at + 4, /^f(i?ld|ld)/.test(name) && !random.chance(10) ? full & ~(1 << ((top + 7) & 7)) : full);
  for (let i = 0; i < 8; i++) {
    const near = 16383 + random.below(random.pick([2, 8, 70, 140])) - random.pick([0, 2, 35, 70]);
    const exponent = random.chance(3) ? random.pick([0, 1, 0x7fff, 0x7ffe, random.below(0x8000)]) : near;
    const any = random.wide();
    const fraction = random.pick([any, any << 11n, any << 12n, any << 32n, any << 40n, ONES << BigInt(random.below(63)), 1n, ONES, 0n, 1n << BigInt(random.below(63)), (any << 11n) | 0x400n, (any << 11n) | 0x3ffn]); // biome-ignore format: a list
    const zero = random.chance(6);
    view.setBigUint64(at + 32 + 16 * i, zero ? 0n : (fraction & ONES) | (random.chance(2) ? 0n : 1n << 63n), true);
    view.setUint16(at + 40 + 16 * i, (zero ? 0 : exponent) | (random.below(2) << 15), true);
  }
  if (random.chance(10)) {
    // Equal, or nearly so.
    const other = at + 32 + 16 * (1 + random.below(7));
    state.bytes.copyWithin(at + 32, other, other + 10);
    if (random.chance(50)) state.bytes[at + 32] ^= 1;
    if (random.chance(50)) state.bytes[at + 41] ^= 0x80;
  }
  const ram = core.ram;
  if (name.endsWith('m80')) {
    ram.setBigUint64(AT, view.getBigUint64(at + 64, true), true);
    ram.setUint16(AT + 8, view.getUint16(at + 72, true), true);
  } else if (/^f\w*_m64/.test(name) && name[1] !== 'i') {
    const exponent = random.chance(5) ? random.pick([0, 2047, random.below(2048)]) : 1023 + random.below(140) - 70;
    const fraction = random.pick([0n, 1n, random.wide() >> 12n, (random.wide() >> 44n) << 32n]);
    ram.setBigUint64(AT, random.chance(5) ? 0n : (BigInt(exponent) << 52n) | fraction | (BigInt(random.below(2)) << 63n), true);
  } else if (/^f\w*_m32/.test(name) && name[1] !== 'i') {
    const exponent = random.chance(5) ? random.pick([0, 255]) : 127 + random.below(140) - 70;
    ram.setUint32(AT, random.chance(5) ? 0 : ((exponent << 23) | random.below(0x80_0000) | (random.below(2) << 31)) >>> 0, true);
  } else if (name === 'fldcw') ram.setUint16(AT, random.below(0x10000) | random.pick([0x3f, 0x3f, 0]), true);
  else ram.setBigInt64(AT, random.pick([0n, -1n, 1n, -(1n << 63n), -(1n << 31n), BigInt.asIntN(64, random.wide()) >> BigInt(random.below(64))]), true); // biome-ignore format: long
  state.rflags = 0x2 | (random.below(0x1000) & 0x8d5);
  state.setGpr(0, 0x1234_5678n);
  state.setGpr(1, BigInt(random.below(100)));
  state.setGpr(3, BigInt(AT + 16) - 4n * state.gpr(1));
}

const snapshot = () => ({
  fpu: Buffer.from(state.bytes.slice(STATE.FXSAVE, STATE.FXSAVE + 512)).toString('hex'),
  flags: state.rflags & 0x8d5,
  rax: Number(state.gpr(0)),
  memory: core.ram.getBigUint64(AT, true).toString(16) + core.ram.getUint16(AT + 8, true).toString(16),
});

describe('the quick way', () => {
  test.each(Object.keys(table))('of %s ends as the complete one, or leaves everything alone', (name) => {
    const random = new Random(`quick ${name}`);
    const memory = name.includes('_m') || /cw$/.test(name);
    const [opcode, reg] = [0xd8 + random.below(8), random.below(8)];
    let quick = 0;
    for (let round = 0; round < ROUNDS; round++) {
      prepare(random, name);
      const rm = random.below(8);
      const common = { opcode, reg, rm: name.endsWith('pp') ? 1 : rm, mod: memory ? 1 : 3, length: 3 };
      const start = state.bytes.slice(STATE.FXSAVE, STATE.FXSAVE + 512);
      const flags = state.rflags;
      const before = snapshot();
      const kept = core.ram.getBigUint64(AT, true);
      const high = core.ram.getUint16(AT + 8, true);
      const done = table[name]({ helper: name, ...common, ...(memory ? MEMORY : { isMemory: false }) } as HelperRecord);
      const after = snapshot();
      if (done === 0) {
        expect(after).toEqual(before);
        continue;
      }
      quick++;
      state.bytes.set(start, STATE.FXSAVE);
      state.rflags = flags;
      state.setGpr(0, 0x1234_5678n);
      core.ram.setBigUint64(AT, kept, true);
      core.ram.setUint16(AT + 8, high, true);
      const helper = x87Helpers[name] ?? fpuHelpers[name];
      helper(core, insn({ ...common, ...(memory ? { at: BigInt(AT) } : {}), rip: BigInt(PAGE + OFFSET) }));
      const complete = snapshot();
      if (JSON.stringify(after) !== JSON.stringify(complete)) {
        expect.soft(after, `round ${round}, from ${JSON.stringify(before)}`).toEqual(complete);
        break;
      }
    }
    expect(quick).toBeGreaterThan(ROUNDS / 8);
  });

  test('is not taken by memory without a tag, or with a segment that has a base', () => {
    prepare(new Random('memory'), 'fld_m64');
    state.view.setUint16(STATE.FXSAVE + 4, 0, true);
    const record = { opcode: 0xdd, reg: 0, rm: 3, mod: 1, length: 3, ...MEMORY } as unknown as HelperRecord;
    core.ram.setFloat64(AT, 1, true);
    expect(table.fld_m64(record)).toBe(1);
    expect(table.fld_m64({ ...record, segment: SEG.GS })).toBe(0);
    expect(table.fld_m64({ ...record, displacement: 0x1000 })).toBe(0);
    expect(table.fld_m64({ ...record, displacement: 0xfe9 })).toBe(0); // over the page's end
    expect(table.fld_m64({ ...record, addressBits: 32 })).toBe(0);
  });
});
