import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type BootSpec, planBoot } from '../../src/boot/index.ts';
import { imagePath } from '../../src/cli/guests.ts';
import { parseFile } from '../../src/cli/kernel-file.ts';
import { makeReport, type Outcome } from '../../src/machine/report.ts';

const guest = (name: string, spec: BootSpec) =>
  planBoot(parseFile(name, new Uint8Array(readFileSync(imagePath(name))), spec.via), spec);

function report(name: string, spec: BootSpec) {
  const plan = guest(name, spec);
  const outcome: Outcome = {
    instructions: 7,
    virtualTimeNs: 9,
    state: { ...plan.state, rip: 0xffff_ffff_8100_0000n, msrs: { STAR: 0x10n } },
    stateHash: '0x0123456789abcdef',
    framesInUse: 3,
    framesTouched: 5,
    console: 'hello\n',
    faults: 0,
    absent: { ports: [{ first: 0x3c0, last: 0x3da, name: 'VGA', reads: 2, writes: 1 }], memory: [] },
    missing: [],
    unknownMsrs: [{ msr: 0xc001_0015, accesses: 1 }],
  };
  const exit = { kind: 'verdict-failure', code: 1, detail: 'it said so', value: 3 } as const;
  const sha256 = (bytes: Uint8Array) => `sha256 of ${bytes.length}`;
  return makeReport({ plan, imagePath: `./${name}`, exit, outcome, host: { milliseconds: { run: 1.5 } }, sha256 });
}

describe('the report of a run', () => {
  const one = report('tiny64.bzimage', { via: 'linux64', memory: '64M', cmdline: 'quiet' });

  it('is JSON without bigint, bytes or undefined surprises', () => {
    const text = JSON.stringify(one);
    expect(JSON.parse(text).schema).toBe(1);
    expect(text.length).toBeLessThan(40_000);
  });

  it('names the image, its format and its hash', () => {
    expect(one.image).toMatchObject({ path: './tiny64.bzimage', format: 'bzimage', compression: 'lz4' });
    expect(one.image.sha256).toBe(`sha256 of ${one.image.size}`);
    expect(report('hello64.bin', { via: 'flat64' }).image).toMatchObject({ format: 'flat' });
  });

  it('tells how it ended, with the value of a verdict', () => {
    expect(one.exit).toEqual({ reason: 'verdict-failure', code: 1, detail: 'it said so', value: 3 });
  });

  it('has 64-bit values as 0x and lower-case digits', () => {
    expect(one.registers.rip).toBe('0xffffffff81000000');
    expect(one.controlRegisters.cr0).toMatch(/^0x[0-9a-f]+$/);
    expect(one.segments.cs).toEqual({ selector: '0x10', base: '0x0', limit: '0xffffffff', attributes: '0xa09b' });
    expect(one.unknownMsrs).toEqual([{ msr: '0xc0010015', accesses: 1 }]);
    expect(one.absentAccesses.ports).toEqual([{ first: '0x3c0', last: '0x3da', name: 'VGA', reads: 2, writes: 1 }]);
  });

  it('counts what the loader wrote', () => {
    const sum = one.plan.writes.reduce((total, { length }) => total + Number(length), 0);
    expect(one.memory.bytesWrittenByLoader).toBe(sum);
    expect(one.memory).toMatchObject({ framesInUse: 3, framesTouched: 5 });
  });

  it('keeps everything of the host under host', () => {
    expect(one.host).toEqual({ milliseconds: { run: 1.5 } });
  });
});
