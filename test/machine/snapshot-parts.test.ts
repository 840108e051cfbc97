import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { BootError } from '../../src/base/errors.ts';
import type { Saved } from '../../src/base/saved.ts';
import { CmosRtc } from '../../src/devices/cmos-rtc.ts';
import type { Device } from '../../src/devices/device.ts';
import { I8254 } from '../../src/devices/i8254.ts';
import { I8259Pair } from '../../src/devices/i8259.ts';
import { Port61 } from '../../src/devices/port61.ts';
import { ResetControl, SystemControlA } from '../../src/devices/reset-control.ts';
import { Uart16550 } from '../../src/devices/uart16550.ts';
import { createBoard } from '../../src/machine/board.ts';

const board = (now = () => 0) =>
  createBoard({ clock: now, console: () => {}, onReset: () => {}, onDebugExit: () => {} });

describe('the devices of the board', () => {
  it('have state and say it, or have none and say that', () => {
    const silent = board()
      .devices()
      .filter(({ stateless, save, restore }) => !stateless && !(save && restore));
    expect(silent.map(({ name }) => name)).toEqual([]);
    expect(board().devices().length).toBeGreaterThan(10);
  });

  it('are refused by name where one does neither', () => {
    const it = board();
    (it.devices() as Device[]).push({ name: 'new chip', read: () => 0, write: () => {} });
    expect(() => it.save()).toThrow(BootError);
    expect(() => it.save()).toThrow('a snapshot of new chip is not built yet');
  });

  it('come back as they were: registers, latches, wires, queues, and when they are due', () => {
    let now = 0;
    const one = board(() => now);
    const script: [port: number, value: number][] = [
      [0x20, 0x11], [0x21, 0x20], [0x21, 4], [0x21, 1], [0xa0, 0x11], [0xa1, 0x28], [0xa1, 2], [0xa1, 1], [0x21, 0xe8], [0xa1, 0xfe],
      [0x43, 0x34], [0x40, 0x34], [0x40, 0x12], [0x43, 0xb0], [0x42, 0x55], [0x61, 1],
      [0x70, 0x0b], [0x71, 0x42], [0x70, 0x0a], [0x71, 0x29],
      [0x3fb, 0x83], [0x3f8, 1], [0x3fb, 3], [0x3fa, 0xc7], [0x3fc, 0x0b], [0x3f9, 5], [0x92, 2], [0xcf9, 2],
    ]; // biome-ignore format: pairs
    for (const [port, value] of script) {
      one.pio.out(port, 1, value);
      now += 977;
      one.runEvents();
    }
    one.send(Uint8Array.from({ length: 40 }, (_, i) => i + 65));
    one.pio.in(0x1234, 2);
    one.mmio.read(0xfee0_0020, 4);
    const other = board(() => now);
    other.restore(one.save(), 'board');
    expect(other.save()).toEqual(one.save());
    const look = (it: typeof one) => {
      const seen: unknown[] = [it.nextEvent(), it.intr(), it.pendingInput(), it.absentAccesses()];
      for (const port of [0x20, 0x21, 0xa0, 0xa1, 0x40, 0x42, 0x61, 0x71, 0x3f8, 0x3fa, 0x3fd, 0x3fe, 0x92, 0xcf9])
        seen.push(it.pio.in(port, 1));
      return seen;
    };
    for (let step = 0; step < 50; step++) {
      now += 100_003;
      one.runEvents();
      other.runEvents();
      expect(look(other)).toEqual(look(one));
      if (one.intr()) expect(other.acknowledge()).toBe(one.acknowledge());
    }
  });

  /** What is wired in when it is made, or never changes. */
  const WIRING = ['name', 'stateless', 'movesEvents', 'isMaster', 'onRoom'];
  const fieldsOf = (object: object): string[] =>
    Object.entries(object)
      .filter(([name, value]) => !WIRING.includes(name) && (typeof value !== 'object' || ArrayBuffer.isView(value)))
      .filter(([, value]) => typeof value !== 'function')
      .map(([name]) => name);
  const pic = new I8259Pair();
  const pit = new I8254(() => 0, () => {}); // biome-ignore format: one line
  const parts: readonly [string, object, Saved][] = [
    ['uart', new Uart16550({ name: 'uart', transmit: () => {}, irq: () => {} })],
    ['pic', pic.master],
    ['pit', pit],
    ['pit counter', (pit as unknown as { counters: object[] }).counters[0]],
    ['rtc', new CmosRtc({ clock: () => 0, irq: () => {} })],
  ].map(([name, part]) => [name as string, part as object, (part as Device).save?.()]);
  for (const [name, part, saved] of parts) {
    it(`save every field that they have (${name})`, () => {
      expect(fieldsOf(part).filter((field) => !Object.hasOwn(saved as object, field))).toEqual([]);
    });
  }
  it('with one field save it by itself', () => {
    for (const part of [new Port61(pit), new ResetControl(() => {}), new SystemControlA(() => {})])
      expect(fieldsOf(part)).toEqual(['value']);
  });
});

/** Fields that are no state, with the reason. */
const NO_STATE: Record<string, string> = {
  'engine/cpu.ts #tracer #events #breakpoints #learnt hooks calls': 'whoever runs the machine brings them',
  'engine/cpu.ts #grant #inCode #alone #selfModified #thrown #stepping #throughGate': 'no longer than an instruction',
  'engine/cpu.ts #debugging': 'follows from DR7',
  'engine/mmu.ts #filled #filledCount #globals #globalCount #hasCodeStores': 'only says what a flush may leave out',
  'engine/mmu.ts #pendingSize #pendingFirst #pendingSecond #pendingFirstLength': 'no longer than an access',
  'machine/run-loop.ts #sinceLook #armedEvent #armedDeadline': 'made anew in each slice',
  'machine/run-loop.ts liveInput personality': 'whoever runs the machine brings them',
  'personality/xen/events.ts onPending onUpcall': 'wires',
  'personality/xen/guest-domain.ts again inMulticall': 'no longer than a hypercall',
  'personality/xen/guest-domain.ts console store': 'parts with a state of their own',
  'personality/xen/descriptors.ts #low #high': 'no longer than a check',
  'personality/lguest/interrupts.ts data': 'its place is saved by lguest.ts',
  'machine/console.ts chunks used': 'saved as the bytes that they hold',
  'machine/console.ts lineListeners byteListeners': 'wires',
  'personality/xen/hvm/address-space.ts #fixed': 'settled when it is made',
  'machine/machine.ts #symbolSource #placed #lookedAt': 'names',
  'machine/machine.ts #expectSeen': 'whoever runs the machine brings it',
  'machine/pio-bus.ts owner devices firstPorts wide names': 'the table that it was made from',
  'machine/pio-bus.ts touched eventsTouched': 'so until the next slice',
  'engine/blocks.ts lowered exact helpers gathered window top decoded stops starts vectors':
    'made anew where code runs',
  'memory/guest-memory.ts #touchedFrames #observer': 'a count of what is saved, and a wire',
  'machine/state-hash.ts #a #b': 'saved by their places',
};
const isExcused = (file: string, field: string) =>
  Object.keys(NO_STATE).some((key) => key.startsWith(`${file} `) && key.split(' ').includes(field));

const SRC = fileURLToPath(new URL('../../src', import.meta.url));
const sources = ['engine', 'machine', 'personality', 'devices', 'memory']
  .flatMap((room) => readdirSync(join(SRC, room), { recursive: true, encoding: 'utf8' }).map((file) => `${room}/${file.replaceAll('\\', '/')}`)) // biome-ignore format: one line
  .filter((file) => file.endsWith('.ts'))
  .map((file) => ({ file, code: readFileSync(join(SRC, file), 'utf8') }));

/** Fields of a class that can change: those without readonly, and collections and arrays whatever they are. */
function changingFields(body: string): string[] {
  const declared = [
    ...body.matchAll(/^ {2}((?:(?:private|protected|readonly) )*)(#?\w+)[!?]?(?:: [^=;\n]+)?(?: = ([^\n]+?))?;/gm),
  ];
  return declared
    .filter(([, words, , value = '']) => !words.includes('readonly') || /^new (Map|Set|\w+Array)\b|^\[/.test(value))
    .filter(([, , name, value = '']) => !['return', 'break', 'continue'].includes(name) && !value.startsWith('('))
    .map(([, , name]) => name);
}

const classes = sources.flatMap(({ file, code }) =>
  [...code.matchAll(/^(?:export )?(?:abstract )?class (\w+)[^{]*\{\n([\s\S]*?)^\}/gm)].map(([, name, body]) => ({ file, name, body, code })),
); // biome-ignore format: one line

describe('whatever says its state', () => {
  const savers = classes.filter(({ body }) => /^ {2}save\(\): Saved/m.test(body));

  it('is found by this test', () => {
    expect(savers.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['Cpu', 'Mmu', 'RunLoop', 'Verdict', 'Uart16550', 'Lguest', 'XenPv', 'EventChannels', 'Clock']),
    ); // biome-ignore format: one line
  });

  for (const { file, name, body, code } of savers) {
    it(`names each of its changing fields, or this test says why not (${name})`, () => {
      const save = /^ {2}save\(\): Saved \{\n([\s\S]*?)^ {2}\}/m.exec(body)?.[1] ?? '';
      const own = /^ {2}protected saveOwn\(\): Saved \{\n([\s\S]*?)^ {2}\}/m.exec(body)?.[1] ?? '';
      const tables = [...`${save}${own}`.matchAll(/keepFields\(this, (\w+)\)/g)].map(
        ([, table]) => new RegExp(`^const ${table}[\\s\\S]*?^};|^const ${table} = .*$`, 'm').exec(code)?.[0] ?? '',
      );
      const said = [save, own, ...tables].join('\n');
      const silent = changingFields(body).filter(
        (field) => !said.includes(field.replace('#', '')) && !isExcused(file, field),
      );
      expect(silent).toEqual([]);
    });
  }

  /** Classes that change and save nothing. */
  const OTHERS = /^(engine|memory)\/|^machine\/(?!board|run-loop|verdict|state-hash|console|input)/;
  const TRANSIENT: Record<string, string> = {
    PageTables: 'what is fresh is so during a validation; root slots are filled when it is made',
    Instruction: 'made for each instruction',
    Reader: 'made for each instruction',
    InputScript: 'whoever runs the machine brings it',
    MachineMemory: 'its one flag is saved by the domain',
    TableStores: 'scratch',
    GuestAccess: 'scratch',
    StoreTree: 'never changes',
    BoardHost: 'wires',
  };
  it('has no neighbour in devices and personalities that changes and says nothing', () => {
    const silent = classes
      .filter(({ file }) => !OTHERS.test(file))
      .filter(
        ({ body }) => changingFields(body).length > 0 && !/^ {2}(save\(\)|protected saveOwn\(\)): Saved/m.test(body),
      )
      .filter(({ name }) => !Object.hasOwn(TRANSIENT, name));
    expect(silent.map(({ file, name }) => `${file} ${name}`)).toEqual([]);
  });
});
