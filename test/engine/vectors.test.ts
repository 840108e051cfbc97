/** Random programs on MMX and XMM registers: blocks, one instruction at a time, and the rows over bigint must end alike.
 *
 * Unlike the recorded states (test/oracle/simd) these have segments with a base, 32-bit code, every form of address, and
 * operands that cross into pages which are read-only or not there: then the fault is compared, and that nothing of the
 * instruction has happened. */
import { describe, expect, it } from 'vitest';
import { STATE } from '../../src/engine/state.ts';
import { INSTRUCTIONS } from '../../src/x86/isa/index.ts';
import type { Form } from '../../src/x86/isa/types.ts';
import { Random } from '../oracle/random.ts';
import { CODE, DATA, FILLER, HOLE, ISLAND, ldt, PAGE, READ_ONLY, segmentOf, USER_CS, USER_DS, USER32_CS, WORLD } from '../oracle/sandbox.ts'; // biome-ignore format: long
import { fill, immediate, mxcsrOf } from '../oracle/simd/states.ts';
import type { CpuStart } from './cpu-driver.ts';
import { InterpreterDriver } from './interpreter-driver.ts';

const FORMS = INSTRUCTIONS.filter(({ op }) => op.vector !== undefined || /^maskmov/.test(op.name));
const EDGES = [DATA + 0x40, DATA + PAGE, READ_ONLY, HOLE, ISLAND, ISLAND + PAGE];
/** Registers that hold addresses: rBX, rSP, rBP, rSI, rDI. No instruction here writes them. */
const BASES = [3, 5, 6, 7];
const WRITABLE = [0, 1, 2];

function encode(random: Random, form: Form, is64: boolean, at: number): number[] {
  const words = form.code.split(' ');
  const bytes: number[] = [];
  if (random.chance(8)) bytes.push(random.pick([0x2e, 0x36, 0x3e, 0x64, 0x65]));
  const narrow = is64 ? random.chance(5) : false;
  if (narrow) bytes.push(0x67);
  if (/^(66|f2|f3)$/.test(words[0])) bytes.push(Number.parseInt(words[0], 16));
  const opcode = words.slice(1).filter((w) => /^[0-9a-f]{2}$/.test(w));
  const digit = words.find((w) => w[0] === '/');
  const memory = form.code.includes(' mem') || (!form.code.includes(' mod3') && random.chance(60));
  const general = /^G/.test(form.operands);
  const generalRm = /^E/.test(form.operands);
  let reg = digit ? Number(digit[1]) : general ? random.pick(WRITABLE) : random.below(8);
  const rm = memory ? random.pick(BASES) : generalRm ? random.pick(WRITABLE) : random.below(8);
  if (is64 && random.chance(60)) {
    // The upper registers; those of addresses stay.
    const rex = 0x40 | random.pick([0, 8]) | (digit ? 0 : random.pick([0, 4])) | (memory ? 0 : random.pick([0, 1]));
    bytes.push(rex);
  }
  bytes.push(...opcode.map((w) => Number.parseInt(w, 16)));
  reg <<= 3;
  if (!memory) bytes.push(0xc0 | reg | rm);
  else if (random.chance(20)) {
    bytes.push(0x44 | reg, 0x20 | rm, 16 * random.below(3)); // SIB without an index
  } else if (random.chance(12)) {
    const target = random.pick(EDGES) - (random.chance(80) ? 16 * random.below(4) : random.below(24));
    const tail = form.operands.endsWith('Ib') ? 1 : 0;
    const value = is64 ? target - (at + bytes.length + 5 + tail) : target;
    bytes.push(0x05 | reg, value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >> 24) & 0xff);
  } else bytes.push(0x40 | reg | rm, (random.chance(85) ? 16 * (random.below(5) - 2) : random.below(48) - 24) & 0xff);
  if (form.operands.endsWith('Ib')) bytes.push(immediate(random, form));
  return bytes;
}

type Program = { start: CpuStart; code: number[]; image: Uint8Array };

function program(name: string, is64: boolean): Program {
  const random = new Random(name);
  const code: number[] = [];
  const from = CODE + 0x800;
  for (let n = 0; n < 12; n++) code.push(...encode(random, random.pick(FORMS), is64, from + code.length));
  code.push(FILLER);
  const address = (): bigint => {
    const at = (random.chance(75) ? DATA + 0x100 : random.pick(EDGES)) - 16 * random.below(6);
    return BigInt(random.chance(92) ? at : at + random.below(16));
  };
  const gpr = Array.from({ length: 16 }, () => BigInt.asUintN(is64 ? 64 : 32, random.value()));
  for (const n of [...BASES, 4]) gpr[n] = address();
  const image = new Uint8Array(512);
  const view = new DataView(image.buffer);
  view.setUint16(0, 0x37f, true);
  view.setUint16(2, random.pick([0, 0, 0x1800, 0x3800]), true);
  view.setUint8(4, random.below(256));
  view.setUint32(24, random.chance(50) ? 0x1fa0 : mxcsrOf(random), true);
  view.setUint32(28, 0xffff, true);
  fill(random, image.subarray(32, 416), random.pick(['single', 'double', 'integer', 'any']));
  for (let i = 0; i < 8; i++) image.fill(0, 32 + 16 * i + 10, 48 + 16 * i);
  if (!is64) image.fill(0, 288, 416);
  const memory = EDGES.map((edge) => {
    const bytes = new Uint8Array(128);
    fill(random, bytes, random.pick(['single', 'double', 'integer', 'any']));
    return { at: edge - 64, bytes };
  });
  const data = segmentOf(is64 ? 0 : USER_DS);
  const odd = segmentOf(random.pick([ldt(1), ldt(2), ldt(13), ldt(19)]));
  const segments = {
    cs: segmentOf(is64 ? USER_CS : USER32_CS),
    ss: segmentOf(USER_DS),
    ds: data,
    es: data,
    fs: is64 ? { ...segmentOf(0), base: 0x20n } : odd,
    gs: is64 ? segmentOf(0) : segmentOf(USER_DS),
  };
  const memoryIn = [...memory, { at: from, bytes: Uint8Array.from(code) }];
  const rflags = random.chance(10) ? 0x4_0202n : 0x202n; // AC: alignment is checked
  return { start: { mode: is64 ? 64 : 32, gpr, rip: BigInt(from), rflags, segments, memory: memoryIn }, code, image };
}

const drivers = [{}, { plain: true }, { reference: true }].map((options) => {
  const driver = new InterpreterDriver(options);
  driver.enter(WORLD);
  return driver;
});

let completed = 0;

/** Everything there is after the program's fault. */
function outcome(driver: InterpreterDriver, { start, image }: Program): string {
  for (const page of WORLD.pages) if (page.access !== 'rx') driver.memory(page.at, page.bytes.length).set(page.bytes);
  driver.load(start);
  const { bytes } = driver.cpu.state;
  bytes.set(image, STATE.FXSAVE);
  const before = driver.cpu.instructions;
  const fault = driver.run(1000);
  completed += driver.cpu.instructions - before;
  const hex = (from: Uint8Array): string => Buffer.from(from).toString('hex');
  const memory = EDGES.filter((edge) => edge !== HOLE && edge !== ISLAND + PAGE).map((edge) =>
    hex(driver.memory(edge & -PAGE, PAGE)),
  );
  const fx = hex(bytes.subarray(STATE.FXSAVE, STATE.FXSAVE + 416)).replace(/(.{64})/g, '$1\n');
  const text = JSON.stringify([fault?.vector, fault?.errorCode, String(fault?.cr2), String(driver.rip()), String(driver.rflags() & 0x8d5n)]); // biome-ignore format: long
  return `${text}\n${driver.gpr().map((x) => x.toString(16))}\n${fx}\n${memory.join('\n')}`;
}

describe('a random program on MMX and XMM registers', () => {
  for (const is64 of [true, false]) {
    it(`ends alike in blocks, one by one and over bigint, in ${is64 ? 64 : 32}-bit code`, () => {
      const ends = new Map<string, number>();
      completed = 0;
      for (let n = 0; n < 600; n++) {
        const name = `vectors ${is64} ${n}`;
        const p = program(name, is64);
        const [blocks, plain, reference] = drivers.map((driver) => outcome(driver, p));
        expect(plain, `${name}: ${Buffer.from(p.code).toString('hex')}`).toBe(reference);
        expect(blocks, `${name}: ${Buffer.from(p.code).toString('hex')}`).toBe(reference);
        const end = reference.slice(0, reference.indexOf(',')).slice(1);
        ends.set(end, (ends.get(end) ?? 0) + 1);
      }
      expect(completed).toBeGreaterThan(3 * 600 * 4); // they do come somewhere
      for (const vector of ['13', '14', '17', '19']) expect(ends.get(vector), `vector ${vector}`).toBeGreaterThan(5);
    });
  }
});
