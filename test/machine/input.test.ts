import { describe, expect, it } from 'vitest';
import { formatRecording, InputError, InputScript, parseRecording, type ScriptStep } from '../../src/machine/input.ts';
import { PatternWatch } from '../../src/machine/pattern.ts';

const bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
const text = (parts: Uint8Array[]) => parts.map((part) => String.fromCharCode(...part));
const foundAt = (pattern: string | RegExp, console: string) => {
  const watch = new PatternWatch(pattern);
  return [...bytes(console)].findIndex((byte) => watch.push(byte));
};

describe('a pattern is found at the byte that completes it', () => {
  const cases = [
    ['ready', 'not yet\nready\n', 12],
    ['aab', 'aaab', 3],
    ['a\nb', 'xa\nb', 3],
    ['absent', 'abs\nent', -1],
    [/^login:/, 'the login:\nlogin: ', 16],
    [/\d+ ticks/, 'after 12 ticks', 13],
    [/one.*two/, 'one\ntwo', -1],
    [/^ok/i, 'x\r\nOK', 4],
    [/a/g, 'ba', 1],
  ] as const;
  it.each(cases)('%s in %j', (pattern, console, at) => expect(foundAt(pattern, console)).toBe(at));

  it('a line without end costs the same for each byte', () => {
    expect(foundAt(/end$/, `${'x'.repeat(100_000)}end`)).toBe(-1);
  });
});

describe('a script of input', () => {
  const run = (steps: ScriptStep[], console: string) => {
    const script = new InputScript(steps);
    const sent = [...text(script.take()).map((what) => `0:${what}`)];
    for (const [index, byte] of bytes(console).entries()) {
      script.push(byte);
      sent.push(...text(script.take()).map((what) => `${index + 1}:${what}`));
    }
    return sent;
  };

  it('sends at once what waits for nothing', () => expect(run([{ send: bytes('hi') }], '')).toEqual(['0:hi']));
  it('sends each text where the console has shown what it waits for, in order', () => {
    const steps = [{ after: 'a', send: bytes('1') }, { after: 'a', send: bytes('2') }, { send: bytes('3') }];
    expect(run(steps, 'xaxxa')).toEqual(['2:1', '5:2', '5:3']);
  });
  it('says what it still waits for', () => {
    expect(new InputScript([{ after: /x/, send: bytes('') }]).waitingFor).toBe('/x/');
  });
});

describe('a recording of input', () => {
  const recording = [{ atNs: 0, bytes: bytes('\x00\xff\n') }, { atNs: 5_000_000_000, bytes: bytes('root\r') }]; // biome-ignore format: short
  it('comes back as it was written', () => {
    expect(parseRecording(formatRecording(recording), 'keys.json')).toEqual(recording);
    expect(parseRecording(formatRecording([]), 'keys.json')).toEqual([]);
  });

  it.each([
    ['', /Unexpected end|JSON/],
    ['null', /kind/],
    ['[]', /kind/],
    ['{"kind":"zeropage input","schema":2,"input":[]}', /"schema" is 2/],
    ['{"kind":"zeropage input","schema":1}', /not a list/],
    ['{"kind":"zeropage input","schema":1,"input":[null]}', /input 0: "atNs"/],
    [
      '{"kind":"zeropage input","schema":1,"input":[{"atNs":5,"text":""},{"atNs":4,"text":""}]}',
      /input 1: "atNs" is 4/,
    ],
    ['{"kind":"zeropage input","schema":1,"input":[{"atNs":5,"text":"\u0100"}]}', /input 0: "text"/],
  ])('refuses %j and says why', (file, why) => {
    expect(() => parseRecording(file, 'keys.json')).toThrow(InputError);
    expect(() => parseRecording(file, 'keys.json')).toThrow(why);
  });
});
