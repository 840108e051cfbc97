/** The console keeps what the guest said, tells lines as they end, and never grows past its limit. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeText, GuestConsole } from '../../src/machine/console.ts';

const pushAll = (console: GuestConsole, text: string) => {
  for (const byte of Buffer.from(text, 'utf8')) console.push(byte);
};
const CHUNK = 64 * 1024;

describe('text', () => {
  const texts = [
    // bytes, text
    [[0x68, 0x69, 0x0a], 'hi\n'],
    [[0xc3, 0xa9], 'é'],
    [[0xe2, 0x82, 0xac], '€'],
    [[0xf0, 0x9f, 0x90, 0xa7], '🐧'],
    [[0xe9, 0x21], 'é!'], // Latin-1
    [[0xc3, 0x28], 'Ã('], // a sequence that does not go on
    [[0xe2, 0x82], 'â\x82'], // a sequence that is cut off
    [[0xc0, 0xaf], 'À¯'], // overlong
    [[0xed, 0xa0, 0x80], 'í\xa0\x80'], // a surrogate
    [[0xf4, 0x90, 0x80, 0x80], 'ô\x90\x80\x80'], // beyond U+10FFFF
    [[0xff, 0xc3, 0xa9, 0x80], 'ÿé\x80'], // mixed
    [[0x00, 0x1b, 0x5b], '\x00\x1b['],
  ] as const;
  it.each(texts)('bytes %j are %j', (bytes, text) => {
    const console = new GuestConsole();
    for (const byte of bytes) console.push(byte);
    expect(console.text).toBe(text);
    expect([...console.bytes()]).toEqual([...bytes]);
  });

  it('is what was sent for every string, and something for all bytes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(decodeText(new TextEncoder().encode(text))).toBe(text);
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(decodeText(bytes).length).toBeLessThanOrEqual(bytes.length);
      }),
    );
  });

  it('can be read on from any place, as someone who writes it out in pieces does', () => {
    const console = new GuestConsole();
    let seen = 0;
    let out = '';
    for (const piece of ['boot', 'ing\n', '', 'ok']) {
      console.pushText(piece);
      out += decodeText(console.bytes(seen));
      seen = console.length;
    }
    expect(out).toBe('booting\nok');
  });
});

describe('lines', () => {
  const cases = [
    // sent, heard at once, heard after finish
    ['a\nb\n', ['a', 'b'], []],
    ['a\r\nb', ['a'], ['b']],
    ['\n\n', ['', ''], []],
    ['one\rtwo\n', ['one\rtwo'], []],
    ['x\r\r\n', ['x'], []],
    ['', [], []],
    ['naïve\n', ['naïve'], []],
  ] as const;
  it.each(cases)('%j is heard as %j, then %j at the end', (sent, atOnce, atEnd) => {
    const console = new GuestConsole();
    const heard: string[] = [];
    console.onLine((line) => heard.push(line));
    pushAll(console, sent);
    expect(heard).toEqual(atOnce);
    console.finish();
    console.finish();
    expect(heard).toEqual([...atOnce, ...atEnd]);
    expect(console.lines).toEqual([...atOnce, ...atEnd]);
  });

  it('are heard before the next byte is taken, and bytes before their line', () => {
    const console = new GuestConsole();
    const order: string[] = [];
    console.onByte((byte) => order.push(String.fromCharCode(byte)));
    console.onLine((line) => order.push(`<${line}>`));
    pushAll(console, 'ab\nc');
    expect(order).toEqual(['a', 'b', '\n', '<ab>', 'c']);
  });

  it('are cut for listeners at 4096 bytes, and their rest is not taken for a new line', () => {
    const console = new GuestConsole();
    const heard: string[] = [];
    console.onLine((line) => heard.push(line));
    pushAll(console, `${'x'.repeat(4096)}verdict: success\nnext\n`);
    expect(heard).toEqual(['x'.repeat(4096), 'next']);
    expect(console.text.length).toBe(4096 + 17 + 5);
  });
});

describe('memory', () => {
  it('is bounded: the oldest output goes, with a note', () => {
    const console = new GuestConsole({ limit: 2 * CHUNK });
    for (let i = 0; i < 5 * CHUNK + 10; i++) console.push(0x61 + (i >> 16));
    expect(console.length).toBe(5 * CHUNK + 10);
    expect(console.droppedBytes).toBe(4 * CHUNK);
    const kept = 'e'.repeat(CHUNK) + 'f'.repeat(10);
    expect(console.text).toBe(`[${4 * CHUNK} bytes of earlier output dropped]\n${kept}`);
    expect(decodeText(console.bytes(0))).toBe(kept);
    expect(decodeText(console.bytes(5 * CHUNK + 3))).toBe('f'.repeat(7));
    expect(console.bytes(10 * CHUNK).length).toBe(0);
  });
});
