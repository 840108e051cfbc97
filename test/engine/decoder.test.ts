/** The decoder against iced-x86: every opcode with every ModRM byte, prefixes, random bytes, in 64-, 32- and 16-bit code.
 * test/real/decoder.test.ts does the same with the text of a stock kernel. */
import { describe, expect, it } from 'vitest';
import { Decoder, MAX_LENGTH } from '../../src/engine/decoder.ts';
import { DEFAULT_MODEL, MAX_MODEL } from '../../src/x86/cpuid.ts';
import { INSTRUCTIONS } from '../../src/x86/isa/index.ts';
import { type CodeSize, type Difference, Oracle } from './decoder-oracle.ts';

const SIZES = [64, 32, 16] as const;

/** Where the two differ, by our mnemonic and iced's, and why that is right. */
const EXCEPTIONS: readonly [ours: string, iced: string, why: string][] = [
  ['ptwrite', 'undefined', 'refuses 66 beside its F3; not shown'],
  ['cldemote', 'reservednop', 'a hint is a NOP by any name'],
  ['3dnow', 'undefined', 'one row for all operations; not shown'],
  ['3dnow', 'pavgusb pf2id pf2iw pfacc pfadd pfcmpeq pfcmpge pfcmpgt pfmax pfmin pfmul pfnacc pfpnacc pfrcp pfrcpit1 pfrcpit2 pfrsqit1 pfrsqrt pfsub pfsubr pi2fd pi2fw pmulhrw pswapd', 'one row for all operations; not shown'],
  ['undefined', 'wrmsrns rdmsrlist wrmsrlist lkgs erets', 'newer than any model: FRED and lists of MSRs'],
  ['undefined', 'erets eretu uiret testui clui stui senduipi', 'newer than any model: FRED, user interrupts'],
  ['undefined', 'pbndkb tdcall seamret seamops seamcall rmpquery hreset', 'newer than any model: TDX, SNP, HRESET'],
  ['undefined', 'aadd aand aor axor', 'newer than any model: RAO-INT'],
  ['undefined', 'aesenc128kl aesdec128kl aesenc256kl aesdec256kl aesencwide128kl aesdecwide128kl aesencwide256kl aesdecwide256kl encodekey128 encodekey256 loadiwkey', 'newer than any model: Key Locker'],
  ['undefined', 'xstore xstore_alt xcryptecb xcryptcbc xcryptctr xcryptcfb xcryptofb xsha1 xsha256 xsha512 xsha512_alt montmul ccs_hash ccs_encrypt undoc', "VIA's and Zhaoxin's only"],
]; // biome-ignore format: a table

const excuse = (d: Difference): string | undefined => {
  const [iced, ours] = [d.iced, d.ours].map((text) => text.split('/')[0]);
  return EXCEPTIONS.find(([name, others]) => name === ours && others.split(' ').includes(iced))?.[2];
};

/** Compares at every `stride` bytes; differences without an excuse, at most a screenful. */
function compare(
  size: CodeSize,
  bytes: Uint8Array,
  stride: number,
  count: number,
  reached?: Set<number>,
  operands = false,
) {
  const oracle = new Oracle(size, bytes);
  const wrong: (Difference | string)[] = [];
  const excused = new Set<string>();
  for (let i = 0; i < count && wrong.length < 20; i++) {
    const at = i * stride;
    oracle.jumpTo(at);
    const verdict = oracle.next(at);
    if (reached && oracle.formIndex >= 0) reached.add(oracle.formIndex);
    if (verdict === 'different') {
      const difference = oracle.difference(at);
      const why = excuse(difference);
      if (why === undefined) wrong.push(difference);
      else excused.add(why);
    } else if (operands) {
      const what = oracle.operandDifference();
      if (what !== undefined) wrong.push(`${oracle.difference(at).bytes} in ${size}-bit code: ${what}`);
    }
  }
  oracle.free();
  return { wrong, excused, count };
}

const SLOT = 24;
const TAIL = [0x24, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x01, 0x02];
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const ALL_MODRM = range(256);
/** Every register field with memory, SIB, absolute and register operands, and the registers that name instructions. */
const SOME_MODRM = [
  ...range(8).flatMap((reg) => [0x04, 0x05, 0x84, 0xc0].map((m) => m | (reg << 3))),
  ...[0xca, 0xd9, 0xe9, 0xea, 0xfa, 0xfb, 0xfe, 0xff],
];

function cases(heads: readonly (readonly number[])[], modrm: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(heads.length * modrm.length * SLOT);
  let at = 0;
  for (const head of heads) {
    for (const m of modrm) {
      bytes.set(head, at);
      bytes[at + head.length] = m;
      bytes.set(TAIL, at + head.length + 1);
      at += SLOT;
    }
  }
  return bytes;
}

const MAPS = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
const opcodes = (prefix: readonly number[]) => MAPS.flatMap((map) => range(256).map((op) => [...prefix, ...map, op]));
/** Prefix bytes of VEX, EVEX and XOP over all maps, mandatory prefixes, W and lengths, before every opcode. */
const vectors = (): number[][] => {
  const heads: number[][] = [];
  for (const low of [0x78, 0x79, 0x7a, 0x7b, 0xf8, 0xfb, 0x7c, 0x7d]) {
    heads.push([0xc5, low | 0xc0]);
    for (const map of [1, 2, 3]) heads.push([0xc4, 0xe0 | map, low], [0x62, 0xf0 | map, low | 4, 0x48]);
    for (const map of [8, 9, 10]) heads.push([0x8f, 0xe0 | map, low]);
  }
  return heads.flatMap((head) => range(256).map((op) => [...head, op]));
};

describe('the decoder and iced-x86', () => {
  const reached = new Set<number>();
  const excused = new Set<string>();
  let compared = 0;
  const agree = (result: ReturnType<typeof compare>) => {
    for (const why of result.excused) excused.add(why);
    compared += result.count;
    expect(result.wrong).toEqual([]);
  };

  it.each(SIZES)('agree on every opcode with every ModRM byte in %i-bit code', (size) => {
    const bytes = cases(opcodes([]), ALL_MODRM);
    agree(compare(size, bytes, SLOT, bytes.length / SLOT, reached));
  });

  const PREFIXES = [[0x66], [0xf2], [0xf3], [0x66, 0xf2], [0x66, 0xf3], [0x67], [0x66, 0x67], [0xf0], [0x48], [0x66, 0x48], [0xf3, 0x48], [0x44]]; // biome-ignore format: a list
  it.each(PREFIXES.map((prefix) => [Buffer.from(prefix).toString('hex'), prefix] as const))(
    'agree on every opcode behind %s',
    (_, prefix) => {
      const bytes = cases(opcodes(prefix), SOME_MODRM);
      const isRex = (prefix.at(-1) ?? 0) >> 4 === 4; // elsewhere an INC or DEC of one byte
      for (const size of isRex ? ([64] as const) : SIZES)
        agree(compare(size, bytes, SLOT, bytes.length / SLOT, reached));
    },
  );

  it('agree on the length of what VEX, EVEX and XOP bring, and on the BMI instructions among it', () => {
    const bytes = cases(vectors(), [0x04, 0x05, 0x43, 0x84, 0xc1, 0xcb, 0xd3, 0xd9]);
    for (const size of SIZES) agree(compare(size, bytes, SLOT, bytes.length / SLOT, reached));
  });

  it.each(SIZES)('agree on random bytes and what their operands are in %i-bit code', (size) => {
    const bytes = randomCode(40_000 + MAX_LENGTH, size);
    agree(compare(size, bytes, 1, bytes.length - MAX_LENGTH, undefined, true));
  });

  it('between them reach every row and need every exception', () => {
    const missed = INSTRUCTIONS.filter((_, index) => !reached.has(index));
    expect(missed.map(({ code, op }) => `${code} ${op.name}`)).toEqual([]);
    expect([...new Set(EXCEPTIONS.map(([, , why]) => why))].filter((why) => !excused.has(why))).toEqual([]);
    expect(compared).toBeGreaterThan(1_000_000);
  });
});

/** Bytes with more prefixes and escapes than chance gives; the same ones every time. */
function randomCode(length: number, seed: number): Uint8Array {
  const frequent = [0x66, 0xf2, 0xf3, 0x67, 0x0f, 0xf0, 0xc4, 0xc5, 0x62, 0x48, 0x0f, 0x41, 0x2e, 0x64, 0x8f, 0x0f];
  let x = seed * 0x9e37_79b1;
  const next = (): number => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
  return Uint8Array.from({ length }, () => {
    const r = next();
    return (r & 7) === 0 ? frequent[(r >> 8) & 15] : (r >>> 16) & 255;
  });
}

describe('the decoder', () => {
  const decoder = new Decoder(() => true);
  const bytes = (text: string) => Uint8Array.from(text.split(' '), (byte) => Number.parseInt(byte, 16));

  it('calls an instruction truncated while any byte of it is missing', () => {
    const code = randomCode(4000, 7);
    let tried = 0;
    for (const size of SIZES) {
      for (let at = 0; at < code.length - MAX_LENGTH; at++) {
        if (decoder.decode(code, at, code.length, size) !== 'ok') continue;
        const { length } = decoder.insn;
        const results = new Set(range(length).map((bytes) => decoder.decode(code, at, at + bytes, size)));
        if (results.size !== 1 || !results.has('truncated')) expect.fail(`at ${at}: ${[...results].join(', ')}`);
        if (decoder.decode(code, at, at + length, size) !== 'ok') expect.fail(`at ${at}: not whole`);
        tried++;
      }
    }
    expect(tried).toBeGreaterThan(8000);
  });

  it('takes 15 bytes and no more', () => {
    const prefixes = (n: number, ...code: number[]) => Uint8Array.from([...range(n).map(() => 0x2e), ...code, 0, 0, 0]);
    expect(decoder.decode(prefixes(14, 0x90), 0, 18, 64)).toBe('ok');
    expect(decoder.insn.length).toBe(15);
    expect(decoder.decode(prefixes(15, 0x90), 0, 19, 64)).toBe('too-long');
    expect(decoder.decode(prefixes(10, 0x81, 0x00, 1, 2, 3, 4), 0, 19, 64)).toBe('too-long');
    expect(decoder.decode(prefixes(9, 0x81, 0x00, 1, 2, 3, 4), 0, 18, 64)).toBe('ok');
  });

  // bytes, code size, what the default model sees, what `max` sees
  const hidden = [
    ['f3 0f bc c1', 64, 'bsf', 'tzcnt'],
    ['f3 0f bd c1', 64, 'bsr', 'lzcnt'],
    ['f3 0f b8 c1', 64, 'undefined', 'popcnt'],
    ['0f 38 f0 00', 64, 'undefined', 'movbe'],
    ['0f c7 08', 64, 'cmpxchg8b', 'cmpxchg8b'],
    ['48 0f c7 08', 64, 'undefined', 'cmpxchg16b'],
    ['9f', 64, 'undefined', 'lahf'],
    ['9f', 32, 'lahf', 'lahf'],
    ['0f 6f 00', 64, 'movq', 'movq'],
    ['66 0f 6f 00', 64, 'movdqa', 'movdqa'],
    ['0f 58 c1', 32, 'addps', 'addps'],
    ['f2 0f 58 c1', 16, 'addsd', 'addsd'],
    ['f3 0f 7e c1', 64, 'movq', 'movq'],
    ['f2 0f 7c c1', 64, 'undefined', 'undefined'], // SSE3
    ['66 0f 38 00 c1', 64, 'undefined', 'undefined'], // SSSE3
    ['66 0f 38 dc c1', 64, 'undefined', 'undefined'], // AES
    ['d9 00', 64, 'fld', 'fld'],
    ['db 00', 32, 'fild', 'fild'],
    ['db 08', 32, 'undefined', 'undefined'], // fisttp: SSE3
    ['d9 e8', 64, 'fld1', 'fld1'],
    ['d9 e2', 64, 'undefined', 'undefined'],
    ['0f ae 20', 64, 'undefined', 'undefined'], // xsave
    ['0f ae 38', 64, 'undefined', 'clflush'],
    ['66 0f ae 38', 64, 'undefined', 'undefined'], // clflushopt
    ['0f c7 f0', 64, 'undefined', 'undefined'], // rdrand
    ['c4 e2 70 f2 c2', 64, 'undefined', 'andn (BMI1)'],
    ['c4 e2 70 f2 c2', 32, 'undefined', 'andn (BMI1)'],
    ['c4 e2 70 f7 c2', 64, 'undefined', 'bextr (BMI1)'],
    ['c4 e2 70 f3 da', 64, 'undefined', 'blsi (BMI1)'],
    ['c4 e2 74 f2 c2', 64, 'undefined', 'undefined'], // L must be 0
    ['66 c4 e2 70 f2 c2', 64, 'undefined', 'undefined'], // no other prefix before VEX
    ['c4 e2 73 f5 c2', 64, 'undefined', 'undefined'], // BMI2
    ['c5 f8 77', 64, 'undefined', 'undefined'], // AVX
    ['c4 00', 32, 'les', 'les'],
    ['c5 00', 32, 'lds', 'lds'],
    ['62 00', 32, 'bound', 'bound'],
    ['f3 0f 09', 64, 'wbinvd', 'wbinvd'], // wbnoinvd on a processor that knows it
    ['0f 38 82 00', 64, 'undefined', 'undefined'],
  ] as const;
  const seen = (model: typeof MAX_MODEL, text: string, size: CodeSize): string => {
    const d = new Decoder((feature) => model.features.has(feature));
    const code = Uint8Array.from([...bytes(text), ...TAIL]);
    const result = d.decode(code, 0, code.length, size);
    if (result !== 'ok') return result;
    const { name, unbuilt } = d.insn.form.op;
    return unbuilt === undefined ? name : `${name} (${unbuilt})`;
  };
  it.each(hidden)('%s in %i-bit code is %s by default and %s with --cpu max', (text, size, standard, max) => {
    expect(seen(DEFAULT_MODEL, text, size)).toBe(standard);
    expect(seen(MAX_MODEL, text, size)).toBe(max);
  });

  it('is ready in a few milliseconds', () => {
    const start = performance.now();
    for (let i = 0; i < 10; i++) {
      const fresh = new Decoder(() => true);
      for (let op = 0; op < 256; op++) fresh.decode(Uint8Array.of(op, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0, 12, 64);
    }
    expect((performance.now() - start) / 10).toBeLessThan(50);
  });
});
