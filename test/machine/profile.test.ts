import { describe, expect, it } from 'vitest';
import { planBoot } from '../../src/boot/index.ts';
import { flatImage } from '../../src/image/parse.ts';
import { crashReport, formatCrash } from '../../src/machine/crash-report.ts';
import { Machine, type MachineOptions } from '../../src/machine/machine.ts';
import { Profile, topFunctions } from '../../src/machine/profile.ts';

// mov ecx,300000; loop $; then for ever: nop; nop; nop; jmp
const CODE = [0xb9, 0xe0, 0x93, 0x04, 0x00, 0xe2, 0xfe, 0x90, 0x90, 0x90, 0xeb, 0xfb];
const names = (address: bigint) => (address < 0x10_0007n ? `count+0x${address.toString(16)}` : 'spin');

async function hang(options: MachineOptions = {}, maxInstructions = 2e6) {
  const machine = await Machine.create(
    planBoot(flatImage('code', Uint8Array.from(CODE)), { via: 'flat64', memory: '2M' }),
    options,
  );
  const exit = machine.runSync({ maxInstructions });
  const scene = machine.scene(16);
  const report = await crashReport(scene, names);
  return { scene, report, text: formatCrash(exit, scene, report) };
}

describe('the profile of a hang', () => {
  it('says where the last instructions went, by function', async () => {
    const { report, text } = await hang();
    expect(report.profile).toEqual({
      instructions: 2_000_000,
      samples: 20,
      functions: [{ where: 'spin', samples: 17 }, { where: 'count', samples: 3 }],
    }); // biome-ignore format: short
    expect(text).toMatch(/where its last 2,000,000 instructions went:\n {5}85\.0 % spin\n {5}15\.0 % count\nended at /);
  });

  it('is the same whatever the engine does', async () => {
    const { scene } = await hang();
    for (const options of [{ plain: true }, { quantum: 777 }, { cpuQuantum: 1000 }]) {
      expect((await hang(options)).scene.samples).toEqual(scene.samples);
    }
  });

  it('tells nothing about a run that was shorter than a sample', async () => {
    const { text } = await hang({}, 1000);
    expect(text).not.toMatch(/where its last/);
  });

  it('forgets what was long ago', () => {
    const profile = new Profile();
    for (let i = 0; i < 10_000; i++) profile.sample(BigInt(i), false);
    expect(profile.samples).toHaveLength(100);
    expect(profile.samples.every(({ rip }) => rip >= 9900n)).toBe(true);
  });

  it('tells code without a name by its page, and user space by that word', () => {
    const sample = (rip: bigint, user: boolean) => ({ rip, user });
    const samples = [sample(0x40_1000n, true), sample(0x40_1fffn, true), sample(0xf_f000n, false)];
    expect(topFunctions(samples, () => undefined)).toEqual([
      { where: 'user space, page 0x401000', samples: 2 },
      { where: 'page 0xff000', samples: 1 },
    ]);
  });
});
