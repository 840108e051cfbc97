import { describe, expect, test } from 'vitest';
import { GuestFault, Unbuilt } from '../../src/engine/core.ts';
import { STATE_MSRS } from '../../src/engine/cpu-state.ts';
import { SEG } from '../../src/engine/state.ts';
import { controlHelpers } from '../../src/engine/system/control.ts';
import { msrHelpers } from '../../src/engine/system/msr-access.ts';
import { CR0, CR4, EFER } from '../../src/x86/constants.ts';
import { type CpuModel, DEFAULT_MODEL, parseCpuModel } from '../../src/x86/cpuid.ts';
import { MSR, MSRS } from '../../src/x86/msr.ts';
import { flatCode32, flatCode64, flatData } from '../../src/x86/vcpu-state.ts';
import { insn, TestCore, thrown } from './test-core.ts';

const GP = new GuestFault(13, 0);
const UD = new GuestFault(6);
const PG = BigInt(CR0.PG);
const helpers = { ...controlHelpers, ...msrHelpers };
const run = (core: TestCore, name: string, more: Parameters<typeof insn>[0] = {}) => helpers[name](core, insn(more));

function protectedMode(model?: CpuModel): TestCore {
  const core = new TestCore();
  if (model) core.model = model;
  core.state.setSegment(SEG.CS, flatCode32(8));
  core.state.setSegment(SEG.DS, flatData(16));
  core.state.set64('CR0', BigInt(CR0.PE | CR0.ET));
  core.state.setDr(6, 0xffff_0ff0n);
  core.state.setDr(7, 0x400n);
  return core;
}
function long(): TestCore {
  const core = protectedMode();
  core.state.setSegment(SEG.CS, flatCode64(8));
  core.state.set64('CR0', BigInt(CR0.PE | CR0.ET) | PG);
  core.state.set64('CR4', BigInt(CR4.PAE));
  core.state.set64('EFER', BigInt(EFER.LME | EFER.LMA));
  return core;
}
function mov(core: TestCore, cr: number, value: bigint): GuestFault | undefined {
  core.state.setGpr(0, value);
  return thrown(() => run(core, 'mov_to_cr', { reg: cr, rm: 0 }));
}

describe('control registers', () => {
  // SDM Vol. 2, MOV to CR: start, register, value → what is raised, or the register afterwards
  const cases: [() => TestCore, number, bigint, GuestFault | bigint][] = [
    [protectedMode, 0, 0x1n, 0x11n], // ET stays
    [protectedMode, 0, 0xffff_ffc0_0000_0011n, 0x11n], // 32-bit code moves 32 bits, and undefined bits are dropped
    [protectedMode, 0, PG, GP], // PG without PE
    [protectedMode, 0, 0x2000_0011n, GP], // NW without CD
    [protectedMode, 0, 0x6000_0011n, 0x6000_0011n],
    [long, 0, 0x1_8000_0011n, GP], // upper half
    [long, 0, 0x11n, GP], // PG cleared in 64-bit code
    [protectedMode, 1, 0n, UD],
    [protectedMode, 5, 0n, UD],
    [protectedMode, 9, 0n, UD],
    [protectedMode, 2, 0xdead_beefn, 0xdead_beefn],
    [protectedMode, 3, 0x1234_5018n, 0x1234_5018n],
    [long, 3, 1n << 40n, GP],
    [long, 3, 0xff_ffff_f000n, 0xff_ffff_f000n],
    [protectedMode, 4, BigInt(CR4.PAE | CR4.PGE | CR4.OSFXSR), BigInt(CR4.PAE | CR4.PGE | CR4.OSFXSR)],
    [protectedMode, 4, BigInt(CR4.VME), GP],
    [protectedMode, 4, BigInt(CR4.LA57), GP],
    [protectedMode, 4, BigInt(CR4.OSXSAVE), GP],
    [protectedMode, 4, BigInt(CR4.SMAP), GP],
    [long, 4, 0n, GP], // PAE cleared in long mode
    [long, 4, BigInt(CR4.PAE) | (1n << 32n), GP],
    [long, 8, 9n, 9n],
    [long, 8, 16n, GP],
  ];
  test.each(cases)('%o: CR%d = %#x', (start, cr, value, expected) => {
    const core = start();
    const before = Buffer.from(core.state.bytes.slice(0x140, 0x190));
    const raised = mov(core, cr, value);
    if (expected instanceof GuestFault) {
      expect(raised).toEqual(expected);
      expect(Buffer.compare(before, core.state.bytes.slice(0x140, 0x190))).toBe(0);
    } else {
      expect(raised).toBeUndefined();
      run(core, 'mov_from_cr', { reg: cr, rm: 1 });
      expect(core.state.gpr(1)).toBe(expected);
    }
  });

  test('need CPL 0, after the question whether the register exists', () => {
    const core = protectedMode();
    core.state.cpl = 3;
    expect(mov(core, 0, 1n)).toEqual(GP);
    expect(thrown(() => run(core, 'mov_from_cr', { reg: 0 }))).toEqual(GP);
    expect(mov(core, 1, 1n)).toEqual(UD);
  });

  test('leaving protected mode ends the run by name', () => {
    expect(() => mov(protectedMode(), 0, 0x10n)).toThrow(expect.toSatisfy((e: unknown) => e instanceof Unbuilt));
  });

  test('CR4 bits that CPUID hides do not exist', () => {
    expect(mov(protectedMode(DEFAULT_MODEL), 4, BigInt(CR4.SMEP))).toEqual(GP);
    expect(mov(protectedMode(parseCpuModel('+SMEP')), 4, BigInt(CR4.SMEP))).toBeUndefined();
  });

  test('changes that cached translations depend on flush the TLB, others do not', () => {
    const core = protectedMode();
    const flushes = (action: () => void) => {
      const before = core.flushes;
      action();
      return core.flushes - before;
    };
    expect(flushes(() => mov(core, 0, BigInt(CR0.PE | CR0.WP)))).toBe(1);
    expect(flushes(() => mov(core, 0, BigInt(CR0.PE | CR0.WP | CR0.TS)))).toBe(0);
    expect(flushes(() => mov(core, 4, BigInt(CR4.PGE)))).toBe(1);
    expect(flushes(() => mov(core, 4, BigInt(CR4.PGE | CR4.OSFXSR)))).toBe(0);
    expect(flushes(() => mov(core, 3, 0x5000n))).toBe(1);
  });
});

describe('paging modes', () => {
  test('long mode: LME, PAE, then PG sets LMA; clearing PG in compatibility code clears it', () => {
    const core = protectedMode();
    const { state } = core;
    mov(core, 4, BigInt(CR4.PAE));
    state.set64('EFER', BigInt(EFER.LME));
    expect(mov(core, 0, PG | 0x11n)).toBeUndefined();
    expect(state.get64('EFER')).toBe(BigInt(EFER.LME | EFER.LMA));
    expect(mov(core, 0, 0x11n)).toBeUndefined();
    expect(state.get64('EFER')).toBe(BigInt(EFER.LME));
  });

  test('long mode without PAE, or from code with CS.L, is #GP', () => {
    const core = protectedMode();
    core.state.set64('EFER', BigInt(EFER.LME));
    expect(mov(core, 0, PG | 0x11n)).toEqual(GP);
    core.state.set64('CR4', BigInt(CR4.PAE));
    core.state.setSegment(SEG.CS, flatCode64(8));
    expect(mov(core, 0, PG | 0x11n)).toEqual(GP);
    expect(core.state.longMode).toBe(false);
  });

  test('PAE paging loads the PDPTEs with PG and with CR3, and refuses reserved bits', () => {
    const core = protectedMode();
    core.state.set64('CR4', BigInt(CR4.PAE));
    core.ram.setBigUint64(0x2000, 0x5003n, true); // RW is reserved in a PDPTE
    core.state.set64('CR3', 0x2000n);
    expect(mov(core, 0, PG | 0x11n)).toEqual(GP);
    expect(core.state.get64('CR0')).toBe(0x11n);
    core.ram.setBigUint64(0x2000, 0x5001n, true);
    expect(mov(core, 0, PG | 0x11n)).toBeUndefined();
    core.ram.setBigUint64(0x5000, 0x87n, true);
    expect(core.readLinear(0x10n, 1)).toBe(0n);
    core.ram.setBigUint64(0x3000, 0x5003n, true);
    expect(mov(core, 3, 0x3000n)).toEqual(GP);
    expect(core.state.get64('CR3')).toBe(0x2000n);
  });
});

describe('machine status word', () => {
  test('LMSW sets the low four bits and cannot clear PE', () => {
    const core = protectedMode();
    core.state.setGpr(3, 0xffean);
    run(core, 'lmsw', { rm: 3 });
    expect(core.state.get64('CR0')).toBe(0x1bn); // MP, TS, PE kept, ET
    core.ram.setUint16(0x500, 0xffff, true);
    run(core, 'lmsw', { at: 0x500n });
    expect(core.state.get64('CR0')).toBe(0x1fn);
    run(core, 'clts');
    expect(core.state.get64('CR0')).toBe(0x17n);
    core.state.cpl = 1;
    expect(thrown(() => run(core, 'lmsw'))).toEqual(GP);
    expect(thrown(() => run(core, 'clts'))).toEqual(GP);
  });

  test('SMSW stores 16 bits to memory and the operand size to a register, at any level', () => {
    const core = long();
    core.state.set64('CR0', 0x8005_0033n);
    core.state.cpl = 3;
    core.state.setGpr(1, -1n);
    run(core, 'smsw', { rm: 1, operandSize: 8 });
    expect(core.state.gpr(1)).toBe(0x8005_0033n);
    core.state.setGpr(1, -1n);
    run(core, 'smsw', { rm: 1, operandSize: 2 });
    expect(core.state.gpr(1)).toBe(0xffff_ffff_ffff_0033n);
  });
});

describe('debug registers', () => {
  test('DR4 and DR5 are DR6 and DR7 until CR4.DE refuses them', () => {
    const core = protectedMode();
    core.state.setGpr(0, 0xffff_ffffn);
    run(core, 'mov_to_dr', { reg: 5 });
    expect(core.state.dr(7)).toBe(0xffff_27ffn);
    core.state.setDr(7, 0x400n);
    run(core, 'mov_to_dr', { reg: 4 });
    expect(core.state.dr(6)).toBe(0xffff_efffn);
    core.state.set64('CR4', BigInt(CR4.DE));
    expect(thrown(() => run(core, 'mov_to_dr', { reg: 4 }))).toEqual(UD);
    expect(thrown(() => run(core, 'mov_from_dr', { reg: 5 }))).toEqual(UD);
    expect(thrown(() => run(core, 'mov_from_dr', { reg: 8 }))).toEqual(UD);
  });

  test('an upper half in DR6 or DR7 is #GP, in DR0-3 an address', () => {
    const core = long();
    core.state.setDr(7, 0x400n);
    core.state.setGpr(0, 1n << 32n);
    expect(thrown(() => run(core, 'mov_to_dr', { reg: 7 }))).toEqual(GP);
    run(core, 'mov_to_dr', { reg: 1 });
    run(core, 'mov_from_dr', { reg: 1, rm: 5 });
    expect(core.state.gpr(5)).toBe(1n << 32n);
  });

  test('general detect: any access is #DB with BD, and GD is clear for the handler', () => {
    const core = protectedMode();
    core.state.setDr(7, 0x2400n);
    core.state.cpl = 3;
    expect(thrown(() => run(core, 'mov_from_dr', { reg: 0 }))).toEqual(GP);
    core.state.cpl = 0;
    expect(thrown(() => run(core, 'mov_from_dr', { reg: 0 }))).toEqual(new GuestFault(1));
    expect(core.state.dr(6)).toBe(0xffff_2ff0n);
    expect(core.state.dr(7)).toBe(0x400n);
  });
});

describe('model-specific registers', () => {
  const edxEax = (core: TestCore, value: bigint) => {
    core.state.setGpr(0, value & 0xffff_ffffn);
    core.state.setGpr(2, value >> 32n);
  };
  const write = (core: TestCore, number: number, value: bigint) => {
    core.state.setGpr(1, BigInt(number));
    edxEax(core, value);
    return thrown(() => run(core, 'wrmsr'));
  };
  const read = (core: TestCore, number: number) => {
    core.state.setGpr(1, BigInt(number));
    run(core, 'rdmsr');
    return (core.state.gpr(2) << 32n) | core.state.gpr(0);
  };

  // number, written, raised or read back
  const cases: [keyof typeof MSR, bigint, GuestFault | bigint][] = [
    ['STAR', 0x0023_0010_1234_5678n, 0x0023_0010_1234_5678n],
    ['LSTAR', 0xffff_ffff_8100_0000n, 0xffff_ffff_8100_0000n],
    ['LSTAR', 0x8000_0000_0000n, GP],
    ['CSTAR', 0x8000_0000_0000n, GP],
    ['SFMASK', 0xffff_ffff_0004_7700n, 0x0004_7700n],
    ['FS_BASE', 0x7fff_ffff_ffffn, 0x7fff_ffff_ffffn],
    ['GS_BASE', 0xffff_8880_0000_0000n, 0xffff_8880_0000_0000n],
    ['GS_BASE', 0xff_8880_0000_0000n, GP],
    ['KERNEL_GS_BASE', 5n, 5n],
    ['KERNEL_GS_BASE', 1n << 62n, GP],
    ['SYSENTER_CS', 0x10n, 0x10n],
    ['TSC_AUX', 0xffff_ffff_0000_0003n, 3n],
    ['PAT', 0x0007_0106_0007_0106n, 0x0007_0106_0007_0106n],
    ['PAT', 0x02n, GP],
    ['PAT', 0x08n << 56n, GP],
    ['PATCH_LEVEL', 0n, GP],
    ['HWCR', 0x1234n, 0n],
    ['EFER', BigInt(EFER.SCE | EFER.NXE | EFER.LMA), BigInt(EFER.SCE | EFER.NXE)], // LMA is not the guest's
    ['EFER', BigInt(EFER.SVME), GP],
    ['EFER', 1n << 32n, GP],
  ];
  test.each(cases)('%s = %#x', (name, value, expected) => {
    const core = protectedMode();
    const raised = write(core, MSR[name], value);
    if (expected instanceof GuestFault) expect(raised).toEqual(expected);
    else expect([raised, read(core, MSR[name])]).toEqual([undefined, expected]);
  });

  test('LME cannot change while paging is on', () => {
    const core = long();
    expect(write(core, MSR.EFER, 0n)).toEqual(GP);
    expect(write(core, MSR.EFER, BigInt(EFER.LME | EFER.NXE))).toBeUndefined();
    expect(core.state.get64('EFER')).toBe(BigInt(EFER.LME | EFER.LMA | EFER.NXE));
    expect(core.flushes).toBe(1);
  });

  test('unknown and hidden ones are #GP(0) and listed; level 3 is #GP(0) and not', () => {
    const core = protectedMode(DEFAULT_MODEL);
    expect(write(core, 0x1a0, 0n)).toEqual(GP);
    expect(thrown(() => read(core, MSR.PAT))).toEqual(GP);
    core.state.cpl = 3;
    expect(thrown(() => read(core, 0x1a1))).toEqual(GP);
    expect(core.unknownMsrs).toEqual(['w 1a0', 'r 277']);
  });

  test('each kept one has a place in the state', () => {
    for (const row of MSRS) if (row.kind === 'state') expect(STATE_MSRS).toContain(row.name);
  });
});

describe('time stamps', () => {
  test('RDTSC counts virtual nanoseconds from what was written to the TSC', () => {
    const core = protectedMode();
    core.now = 0x1_2345_6789;
    run(core, 'rdtsc');
    expect([core.state.gpr(2), core.state.gpr(0)]).toEqual([1n, 0x2345_6789n]);
    core.state.setGpr(1, 0x10n);
    core.state.setGpr(0, 100n);
    core.state.setGpr(2, 0n);
    run(core, 'wrmsr');
    core.now += 5;
    core.state.set64('TSC_AUX', 7n);
    run(core, 'rdtscp');
    expect([core.state.gpr(2), core.state.gpr(0), core.state.gpr(1)]).toEqual([0n, 105n, 7n]);
  });

  test('CR4.TSD keeps RDTSC and no CR4.PCE keeps RDPMC from level 3', () => {
    const core = protectedMode();
    core.state.set64('CR4', BigInt(CR4.TSD));
    run(core, 'rdtsc');
    core.state.cpl = 3;
    expect(thrown(() => run(core, 'rdtsc'))).toEqual(GP);
    expect(thrown(() => run(core, 'rdpmc'))).toEqual(GP);
    core.state.set64('CR4', BigInt(CR4.PCE));
    run(core, 'rdtsc');
    core.state.setGpr(1, 4n);
    expect(thrown(() => run(core, 'rdpmc'))).toEqual(GP);
    core.state.setGpr(1, 3n);
    run(core, 'rdpmc');
    expect(core.state.gpr(0)).toBe(0n);
    core.model = DEFAULT_MODEL;
    expect(thrown(() => run(core, 'rdtscp'))).toEqual(UD);
  });
});

describe('the rest', () => {
  test('CPUID writes four registers and clears their upper halves', () => {
    const core = long();
    core.state.setGpr(3, -1n);
    core.state.setGpr(0, 0xffff_ffff_0000_0000n);
    run(core, 'cpuid');
    expect([3, 2, 1].map((n) => core.state.gpr(n))).toEqual([0x6874_7541n, 0x6974_6e65n, 0x444d_4163n]);
  });

  test('INVLPG drops one page, uses the segment base where there is one, and minds no limit', () => {
    const core = protectedMode();
    core.state.setSegment(SEG.DS, { ...flatData(16), base: 0x1000n, limit: 0 });
    const tag = () => core.state.view.getBigInt64(0x1_0000 + 5 * 16, true);
    core.readLinear(0x5000n, 1);
    run(core, 'invlpg', { at: 0x3fffn });
    expect(tag()).toBe(0x5000n - 0x1000n + 0x1000n);
    run(core, 'invlpg', { at: 0x4123n });
    expect(tag()).toBe(1n);
    core.state.cpl = 3;
    expect(thrown(() => run(core, 'invlpg', { at: 0n }))).toEqual(GP);
    expect(thrown(() => run(core, 'wbinvd'))).toEqual(GP);
    expect(thrown(() => run(core, 'invd'))).toEqual(GP);
  });

  test('SWAPGS exchanges the bases, in 64-bit code at level 0 only', () => {
    const core = long();
    core.state.setBase(SEG.GS, 1n);
    core.state.set64('KERNEL_GS_BASE', 2n);
    run(core, 'swapgs');
    expect([core.state.base(SEG.GS), core.state.get64('KERNEL_GS_BASE')]).toEqual([2n, 1n]);
    core.state.cpl = 3;
    expect(thrown(() => run(core, 'swapgs'))).toEqual(GP);
    expect(thrown(() => run(protectedMode(), 'swapgs'))).toEqual(UD);
  });

  test.each(['xgetbv', 'xsetbv', 'monitor', 'mwait', 'stac', 'clac', 'vmrun', 'vmcall', 'vmmcall'])(
    '%s is #UD',
    (name) => {
      expect(thrown(() => run(long(), name))).toEqual(UD);
    },
  );
});
