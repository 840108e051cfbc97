/** A hypervisor behind the guest is asked first: before a gate is read, at exact counts, in every form. */
import { describe, expect, it } from 'vitest';
import type { TrapAnswer, TrapHooks } from '../../src/engine/core.ts';
import { Cpu } from '../../src/engine/cpu.ts';
import { CR0 } from '../../src/x86/constants.ts';
import { MAX_MODEL } from '../../src/x86/cpuid.ts';
import { flatCode32, flatData } from '../../src/x86/vcpu-state.ts';
import { BenchHost, FORMS, hex } from './traps/bench.ts';

const CODE = 0x1000;
const HANDLER = 0x2000n;

class Hypervisor implements TrapHooks {
  readonly log: string[] = [];
  cpu!: Cpu;
  host!: BenchHost;
  /** Sends the guest to HANDLER, as a bounce would. */
  #enter(): TrapAnswer {
    this.cpu.state.rip = HANDLER;
    return 'entered';
  }
  #note(what: string): void {
    this.log.push(`${what} at ${this.cpu.state.rip.toString(16)} after ${this.cpu.instructions}`);
  }
  exception({ vector, errorCode }: { vector: number; errorCode?: number }): TrapAnswer {
    this.#note(`exception ${vector}${errorCode === undefined ? '' : `(${errorCode})`}`);
    if (vector !== 6) return this.#enter();
    this.cpu.state.rip += 2n; // UD2 is carried out
    return 'completed';
  }
  softwareInterrupt(vector: number, nextRip: bigint): TrapAnswer {
    this.#note(`int ${vector}`);
    if (vector === 0x20) this.cpu.halt();
    this.cpu.state.rip = nextRip;
    return 'completed';
  }
  systemCall(nextRip: bigint): TrapAnswer {
    this.#note('syscall');
    this.cpu.state.rip = nextRip;
    return 'completed';
  }
  interrupt(): void {
    this.host.pending = undefined;
    this.#note('interrupt');
    this.#enter();
  }
}

/** No IDT, no GDT: whatever goes past the hypervisor ends in a triple fault. */
function start(form: (typeof FORMS)[number], code: number[]) {
  const host = new BenchHost();
  const { plain, quantum } = form;
  const cpu = Cpu.create({ ramSize: 1 << 20, cpuModel: MAX_MODEL, host, plain, quantum });
  const hypervisor = new Hypervisor();
  Object.assign(hypervisor, { cpu, host });
  cpu.hooks = hypervisor;
  new Uint8Array(cpu.buffer, cpu.ramOffset + CODE).set(code);
  new Uint8Array(cpu.buffer, cpu.ramOffset + Number(HANDLER)).set(hex('41', 'cd 20')); // inc ecx; int 0x20
  const data = flatData(0x18);
  const segments = { es: data, cs: flatCode32(0x10), ss: data, ds: data, fs: data, gs: data };
  cpu.setState({ rip: BigInt(CODE), rflags: 0x202n, rsp: 0x8000n, cr0: BigInt(CR0.PE), segments, cpl: 0 });
  const exits: string[] = [];
  for (let n = 0; n < 100; n++) {
    const { kind } = cpu.run(1000);
    exits.push(kind);
    if (kind !== 'event') break;
  }
  return { cpu, hypervisor, host, exits };
}

describe.each(FORMS)('with a hypervisor, $name', (form) => {
  it('hypercalls and emulated instructions complete and count as one', () => {
    const { cpu, hypervisor, exits } = start(form, hex('40', 'cd 1f', '0f 0b', 'cc', '40', 'cd 20'));
    expect(hypervisor.log).toEqual([
      'int 31 at 1001 after 1',
      'exception 6 at 1003 after 2',
      'int 3 at 1005 after 3',
      'int 32 at 1007 after 5',
    ]);
    expect(exits).toEqual(['event', 'event', 'event', 'event', 'halt']);
    expect(cpu.instructions).toBe(6);
    expect(cpu.state.gpr(0)).toBe(2n);
  });

  it('a fault goes to the handler that the hypervisor chose, and does not count', () => {
    // inc eax; xor edx, edx; xor ebx, ebx; div ebx
    const { cpu, hypervisor } = start(form, hex('40', '31 d2', '31 db', 'f7 f3', '40'));
    expect(hypervisor.log).toEqual(['exception 0 at 1005 after 3', 'int 32 at 2001 after 4']);
    expect(cpu.state.gpr(0)).toBe(1n);
    expect(cpu.state.gpr(1)).toBe(1n);
    expect(cpu.firstFault).toMatchObject({ vector: 0, rip: 0x1005n });
  });

  it('SYSCALL comes to the hypervisor though EFER.SCE is clear', () => {
    const { hypervisor } = start(form, hex('0f 05', 'cd 20'));
    expect(hypervisor.log).toEqual(['syscall at 1000 after 0', 'int 32 at 1002 after 1']);
  });

  it('an interrupt wakes the halted guest in the handler', () => {
    const { cpu, host, hypervisor, exits } = start(form, hex('cd 20', '40'));
    expect(exits.at(-1)).toBe('halt');
    host.pending = 0x33;
    expect(cpu.run(1000).kind).toBe('event');
    expect(cpu.run(1000).kind).toBe('event');
    expect(cpu.run(1000).kind).toBe('halt');
    expect(hypervisor.log.slice(1)).toEqual(['interrupt at 1002 after 1', 'int 32 at 2001 after 2']);
  });
});
