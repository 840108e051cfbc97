import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { BootError, VmError } from '../../src/base/errors.ts';
import { type BootSpec, planBoot } from '../../src/boot/index.ts';
import { imagePath } from '../../src/cli/guests.ts';
import { flatImage } from '../../src/image/parse.ts';
import { Machine as Library, parseKernel, planBoot as planWithUnpacking } from '../../src/index.ts';
import { formatRecording, parseRecording } from '../../src/machine/input.ts';
import { Machine, type MachineOptions } from '../../src/machine/machine.ts';

// Guests by hand: 32-bit code at 0x100000, entered by flat32.
const text = (message: string) => [...message].map((character) => character.charCodeAt(0));
const HLT = [0xf4];
const FOREVER = [0xeb, 0xfe]; // jmp $
const print = (message: string) => [0x66, 0xba, 0xf8, 0x03, ...text(message).flatMap((byte) => [0xb0, byte, 0xee])]; // mov dx,0x3f8; (mov al,c; out dx,al)
const debugExit = (value: number) => [0xb0, value, 0xe6, 0xf4]; // mov al,value; out 0xf4,al
const RESET = [0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee]; // mov dx,0xcf9; mov al,6; out dx,al
/** Polls the line status and sends back what comes in, until a q. */
const ECHO = [0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7, 0x66, 0xba, 0xf8, 0x03, 0xec, 0xee, 0x3c, 0x71, 0x75, 0xed, 0xf4]; // biome-ignore format: code
/** Counts ecx down from a number of rounds. */
const countDown = (rounds: number) => [0xb9, rounds & 0xff, (rounds >> 8) & 0xff, rounds >> 16, 0, 0xe2, 0xfe]; // mov ecx,rounds; loop $

/** Code that sleeps in HLT and handles one interrupt: set-up, idle loop, handler, IDT with a gate for the vector. */
function sleeper(vector: number, setUp: number[], handler: number[]): number[] {
  const at = 0x10_0000;
  const idle = [0xfb, 0xf4, 0xeb, 0xfc]; // sti; hlt; jmp
  const handlerAt = at + 7 + setUp.length + idle.length;
  const idtrAt = handlerAt + handler.length;
  const gate = [
    handlerAt & 0xff,
    (handlerAt >> 8) & 0xff,
    0x10,
    0,
    0,
    0x8e,
    (handlerAt >> 16) & 0xff,
    handlerAt >>> 24,
  ];
  const idt = [...new Array(vector * 8).fill(0), ...gate];
  const lidt = [0x0f, 0x01, 0x1d, ...dword(idtrAt)];
  return [...lidt, ...setUp, ...idle, ...handler, idt.length - 1, 0, ...dword(idtrAt + 6), ...idt];
}
/** The same by interrupt: IRQ 4 is vector 12; UART with receive interrupts and OUT2. */
const echoByInterrupt = () =>
  sleeper(
    12,
    [0xb0, 0xef, 0xe6, 0x21, 0x66, 0xba, 0xf9, 0x03, 0xb0, 0x01, 0xee, 0x66, 0xba, 0xfc, 0x03, 0xb0, 0x0b, 0xee],
    [0x66, 0xba, 0xf8, 0x03, 0xec, 0xee, 0x3c, 0x71, 0x74, 0x05, 0xb0, 0x20, 0xe6, 0x20, 0xcf, 0xfa, 0xf4],
  );
/** Wakes up for each tick of the timer at 18.2 Hz, for ever: IRQ 0 is vector 8. */
const ticks = () =>
  sleeper(
    8,
    [0xb0, 0xfe, 0xe6, 0x21, 0xb0, 0x34, 0xe6, 0x43, 0xb0, 0, 0xe6, 0x40, 0xe6, 0x40],
    [0xb0, 0x20, 0xe6, 0x20, 0xcf],
  );
const dword = (value: number) => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24];

const machineFor = (code: number[], options: MachineOptions = {}, spec: BootSpec = {}) =>
  Machine.create(planBoot(flatImage('code', Uint8Array.from(code)), { via: 'flat32', memory: '2M', ...spec }), options);
const endOf = async (code: number[], options: MachineOptions = {}) => {
  const machine = await machineFor(code, options);
  return { ...machine.runSync({ maxInstructions: 1e6 }), machine };
};
const bytes = (message: string) => Uint8Array.from(text(message));

describe('a machine', () => {
  it('runs flat code to its halt and counts every instruction', async () => {
    const { kind, code, machine } = await endOf([...print('hi\n'), ...HLT]);
    expect({ kind, code }).toEqual({ kind: 'halted', code: 0 });
    expect(machine.console.text).toBe('hi\n');
    expect(machine.instructions).toBe(1 + 3 * 2 + 1);
    expect(machine.virtualTimeNs).toBe(machine.instructions);
  });

  it('can be read and changed between two steps', async () => {
    const machine = await machineFor([0x40, 0x40, 0xa3, ...dword(0x9000), ...HLT]); // inc eax; inc eax; mov [0x9000],eax
    expect(machine.step(1)).toMatchObject({ kind: 'instruction-limit', code: 5 });
    expect(machine.vcpu.state()).toMatchObject({ rax: 1n, rip: 0x10_0001n });
    machine.vcpu.setState({ rax: 41n });
    machine.step(2);
    expect(machine.memory.readU32(0x9000)).toBe(42);
    expect([...machine.memory.bytes(0x9000, 4)]).toEqual([42, 0, 0, 0]);
  });

  it('sees code that is changed from outside', async () => {
    const machine = await machineFor([0x40, 0xeb, 0xfd]); // inc eax; jmp back
    machine.step(4);
    machine.memory.writeU8(0x10_0000, 0x48); // dec eax
    machine.step(2);
    expect(machine.vcpu.state().rax).toBe(1n);
  });

  it('stops before a place, and gets past it when it goes on', async () => {
    const machine = await machineFor([0x40, 0x40, 0xeb, 0xfc]); // inc eax twice, for ever
    for (const rax of [1n, 3n, 5n]) {
      expect(machine.runSync({ until: 0x10_0001n })).toMatchObject({
        kind: 'until',
        code: 0,
        detail: 'reached 0x100001',
      });
      expect(machine.vcpu.state()).toMatchObject({ rip: 0x10_0001n, rax });
    }
    expect(machine.instructions).toBe(7);
  });

  it('is at a place before its first instruction, too', async () => {
    const machine = await machineFor([0x40, 0xeb, 0xfd]);
    expect(machine.runSync({ until: 0x10_0000n }).kind).toBe('until');
    expect(machine.instructions).toBe(0);
    machine.runSync({ until: 0x10_0000n });
    expect(machine.instructions).toBe(2);
  });

  it('knows no symbol of a kernel without symbols', async () => {
    const machine = await machineFor(HLT);
    expect(() => machine.runSync({ until: 'main' })).toThrow(BootError);
    expect(() => machine.runSync({ until: 'main' })).toThrow(/comes without symbols/);
  });

  it('stays at its end once the guest has ended', async () => {
    const { machine, ...exit } = await endOf(HLT);
    const { instructions } = machine;
    expect(machine.runSync()).toMatchObject({ kind: exit.kind, code: exit.code });
    expect(machine.instructions).toBe(instructions);
  });

  it('refuses a CPU that is not built', async () => {
    await expect(machineFor(HLT, { cpu: 'max,+AVX' })).rejects.toThrow(VmError);
  });
});

describe('how a run ends', () => {
  const unannounced = /without announcing/;
  const ends: [string, number[], MachineOptions, object][] = [
    ['debug-exit 0x10 is success', debugExit(0x10), {}, { kind: 'power-off', code: 0, value: 0x10 }],
    ['debug-exit 3 is failure', debugExit(3), {}, { kind: 'verdict-failure', code: 1, value: 3 }],
    ['debug-exit 3 is success when asked for', debugExit(3), { debugExitSuccess: 3 }, { kind: 'power-off', code: 0 }],
    ['a reset that nobody announced is a crash', RESET, {}, { kind: 'reset', code: 4, detail: expect.stringMatching(unannounced) }],
    ['a reset that was announced is a good end', [...print('reboot: Restarting system\n'), ...RESET], {}, { kind: 'power-off', code: 0 }],
    ['an exception without an IDT is a triple fault', [0x0f, 0x0b], {}, { kind: 'triple-fault', code: 4 }],
    ['a jump to nowhere is a crash', [0xe9, 0, 0, 0, 0x70], {}, { code: 4 }],
    ['a panic ends the run at its last line', [...print('Kernel panic - not syncing: no\n---[ end Kernel panic - not syncing: no ]---\n'), ...FOREVER], {}, { kind: 'panic', code: 4 }],
    ['a panic and a halt', [...print('Kernel panic - not syncing: no\n'), ...HLT], {}, { kind: 'panic', code: 4 }],
    ['a failed verdict and a halt', [...print('verdict: failure 3\n'), ...HLT], {}, { kind: 'verdict-failure', code: 1, value: 3 }],
    ['a last line without its newline counts', [...print('verdict: failure 3'), ...HLT], {}, { kind: 'verdict-failure', code: 1 }],
    ['what the console was to show', [...print('ready\n'), ...FOREVER], { expect: 'ready' }, { kind: 'expected', code: 0 }],
    ['an expression', [...print('took 12 ms\n'), ...FOREVER], { expect: /took \d+ ms/ }, { kind: 'expected', code: 0 }],
    ['a good end without what was expected is none', [...print('red\n'), ...HLT], { expect: 'ready' }, { kind: 'halted', code: 1, detail: expect.stringContaining('without showing "ready"') }],
    ['a device function that is not built has a name', [0xb0, 0, 0xe6, 0x92, ...FOREVER], {}, { kind: 'unbuilt', code: 6, detail: expect.stringContaining('address line 20') }],
    ['running for ever', FOREVER, {}, { kind: 'instruction-limit', code: 5 }],
  ]; // biome-ignore format: a table
  it.each(ends)('%s', async (_name, code, options, expected) => {
    const { machine, ...exit } = await endOf(code, options);
    expect(exit).toMatchObject(expected);
    expect(machine.instructions).toBeLessThanOrEqual(1e6);
  });

  it('a panic that does not end has one second of virtual time, which passes while the guest sleeps', async () => {
    const machine = await machineFor(ticks());
    machine.console.pushText('Kernel panic - not syncing: no\n');
    expect(machine.runSync({ maxInstructions: 10_000 }).kind).toBe('panic');
    expect(machine.virtualTimeNs).toBe(1_000_000_000);
    expect(machine.instructions).toBeLessThan(200);
  });

  it('time of the host can run out, and more can be given', async () => {
    const machine = await machineFor(FOREVER);
    const exit = await machine.run({ timeoutSeconds: 0.1 });
    expect(exit).toMatchObject({ kind: 'timeout', code: 5 });
    const { instructions } = machine;
    expect((await machine.run({ timeoutSeconds: 0.1 })).kind).toBe('timeout');
    expect(machine.instructions).toBeGreaterThan(instructions);
    expect(machine.runSync({ timeoutSeconds: 0.05 }).kind).toBe('timeout');
  });

  it.each([['SIGINT', 130], ['SIGTERM', 143]])('%s ends a run with %i', async (signal, code) => {
    const stop = new AbortController();
    setTimeout(() => stop.abort(signal), 50);
    const machine = await machineFor(FOREVER);
    expect(await machine.run({ signal: stop.signal })).toMatchObject({ kind: 'interrupted', code });
  }); // biome-ignore format: short

  it('the event loop has its turn while a guest runs', async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 10);
    await (await machineFor(FOREVER)).run({ timeoutSeconds: 0.3 });
    clearInterval(timer);
    expect(turns).toBeGreaterThan(2);
  });
});

describe('input', () => {
  const lines = [
    { after: 'name? ', send: bytes('joe\n') },
    { after: 'joe\n', send: bytes('q') },
  ];
  it('of a script arrives when the console has shown what it waits for', async () => {
    const { machine, code } = await endOf([...print('name? '), ...ECHO], { script: lines });
    expect(machine.console.text).toBe('name? joe\nq');
    expect(code).toBe(0);
  });

  it.each([
    ['by polling', ECHO],
    ['by interrupt, asleep in HLT', echoByInterrupt()],
  ])('of a person reaches the guest %s, and its recording gives the same run', async (_how, code) => {
    const machine = await machineFor(code);
    for (const [i, key] of ['a', 'bc', '\xffq'].entries()) setTimeout(() => machine.type(bytes(key)), 20 + 30 * i);
    const exit = await machine.run({ interactive: true, timeoutSeconds: 20 });
    expect(exit).toMatchObject({ kind: 'halted', code: 0 });
    expect([...machine.console.bytes()]).toEqual(text('abc\xffq'));

    const replay = parseRecording(formatRecording(machine.takenInput), 'recording');
    const again = await machineFor(code, { replay });
    expect(again.runSync({ timeoutSeconds: 20 })).toEqual(exit);
    expect(again.outcome()).toEqual(machine.outcome());
  });

  it('that nobody gives any more lets a waiting guest end', async () => {
    const machine = await machineFor(echoByInterrupt());
    setTimeout(() => machine.endInput(), 30);
    const exit = await machine.run({ interactive: true, timeoutSeconds: 20 });
    expect(exit).toMatchObject({
      kind: 'halted',
      code: 0,
      detail: expect.stringContaining('nothing that could wake it'),
    });
  });

  it('is waited for only in an interactive run', async () => {
    expect((await endOf(echoByInterrupt())).kind).toBe('halted');
  });
});

describe('two runs', () => {
  const tiny = (options: MachineOptions = {}) => {
    const image = parseKernel('tiny64.bzimage', new Uint8Array(readFileSync(imagePath('tiny64.bzimage'))));
    return Library.create(planWithUnpacking(image, { via: 'linux64', memory: '32M' }), options);
  };

  it('are the same run, however the host cuts them', async () => {
    const whole = await tiny();
    const exit = whole.runSync();
    const reference = whole.outcome();
    expect(exit).toMatchObject({ kind: 'power-off', code: 0 });
    for (const options of [{ quantum: 1009 }, { quantum: 65_536 }, { plain: true }]) {
      const cut = await tiny(options);
      expect(cut.runSync()).toEqual(exit);
      expect(cut.outcome()).toEqual(reference);
    }
    const inSteps = await tiny();
    let last = inSteps.step(1000);
    while (last.kind === 'instruction-limit') last = inSteps.step(1000);
    expect(inSteps.outcome()).toEqual(reference);
    const inSlices = await tiny();
    expect(await inSlices.run()).toEqual(exit);
    expect(inSlices.outcome()).toEqual(reference);
  });

  it('counts the frames that the loader and the guest touched, each once', async () => {
    // biome-ignore format: an instruction a line
    const code = [
      0xa3, 0x00, 0x80, 0x10, 0x00, // mov [0x108000], eax
      0xa1, 0x00, 0x90, 0x10, 0x00, // mov eax, [0x109000]
      0xa3, 0x04, 0x80, 0x10, 0x00, // mov [0x108004], eax
      0xa3, 0xfe, 0xaf, 0x10, 0x00, // mov [0x10affe], eax
      0xf4, // hlt
    ];
    for (const plain of [false, true]) {
      const machine = await Machine.create(
        planBoot(flatImage('code', Uint8Array.from(code)), { via: 'flat32', memory: '2M' }),
        { plain },
      );
      const { touchedFrames: before } = machine.memory;
      expect(machine.outcome().framesTouched).toBe(before);
      machine.runSync();
      expect(machine.outcome().framesTouched).toBe(before + 4); // the code's own frame was the loader's
    }
  });

  it('of different code have different hashes', async () => {
    const hash = async (rounds: number) =>
      (await endOf([...countDown(rounds), 0x31, 0xc9, ...HLT])).machine.outcome().stateHash;
    expect(await hash(150_000)).toBe(await hash(150_000));
    expect(await hash(150_000)).not.toBe(await hash(150_001));
  });
});

describe('limits', () => {
  it.each([-1, Number.NaN, 'x' as never])('of %j are refused before anything runs', async (limit) => {
    const machine = await Machine.create(planBoot(flatImage('code', Uint8Array.from(FOREVER)), { via: 'flat32' }));
    expect(() => machine.step(limit)).toThrow(/maxInstructions is no limit/);
    expect(() => machine.runSync({ maxInstructions: limit })).toThrow(VmError);
    await expect(machine.run({ timeoutSeconds: limit })).rejects.toThrow(/timeoutSeconds is no limit/);
    expect(machine.instructions).toBe(0);
  });
});
