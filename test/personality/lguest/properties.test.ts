/** Any hypercall with any arguments: the guest lives or is killed with a sentence, nothing is thrown, and no byte outside
 * its memory changes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planBoot } from '../../../src/boot/index.ts';
import { LguestData } from '../../../src/layout/lguest-data.ts';
import { Machine } from '../../../src/machine/machine.ts';
import { elf } from '../../boot/files.ts';
import { CODE, DATA, DIRECTORY, HANDLER, identity, init, KERNEL_STACK, NOTES, STACK, TABLE, TEXT } from './guest.ts';

/** Not a whole number of 64 KiB, so that the engine has memory behind it: that is what must not change. */
const MEMORY = 0x20_1000;
const BEHIND = 0x21_0000 - MEMORY;
const KINDS = ['killed', 'power-off', 'crashed', 'halted', 'instruction-limit', 'fault-loop', 'unbuilt'];

/** Addresses with something at them or at their edge, sizes that wrap, and anything else. */
const word = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(CODE, DATA, TEXT, STACK, KERNEL_STACK, DIRECTORY, TABLE, NOTES, HANDLER) },
  { weight: 3, arbitrary: fc.constantFrom(0, 1, 2, 3, 5, 6, 13, 14, 31, 32, 0x61, 0x69, 0x80, 255, 256, 1023, 1024) },
  { weight: 2, arbitrary: fc.constantFrom(MEMORY - 4096, MEMORY - 128, MEMORY - 4, MEMORY - 1, MEMORY, MEMORY + 1, 0xffff_ffff, 0xffff_f000, 0xffc0_0000, 0x8000_0000) },
  { weight: 2, arbitrary: fc.nat(0xffff_ffff) },
); // biome-ignore format: a table
const call = fc.record({
  number: fc.oneof({ weight: 9, arbitrary: fc.nat(19) }, { weight: 1, arbitrary: fc.nat(0xffff_ffff) }),
  args: fc.tuple(word, word, word, word),
  /** Directly, or by a slot of the ring. */
  slot: fc.option(fc.nat(63)),
});

const LOOP = [...init(), 0xcd, 0x1f, 0xeb, 0xfc]; // 1: int 0x1f; jmp 1b

async function machineWith(
  code: number[],
  plain = false,
): Promise<{ machine: Machine; behind: Uint8Array; before: Uint8Array }> {
  const kernel = elf({ bits: 32, entry: CODE, segments: [{ paddr: CODE, bytes: Uint8Array.from(code) }] });
  const machine = await Machine.create(planBoot(kernel, { via: 'lguest', memory: MEMORY }), { plain });
  const { memory } = machine;
  for (const [at, bytes] of Object.entries(identity())) memory.bytes(Number(at), bytes.length).set(bytes);
  LguestData.write(memory.bytes(DATA, LguestData.size), 0, {
    hcall_status: new Array(64).fill(0xff),
    kernel_address: 0xc000_0000,
    syscall_vec: 0x80,
  });
  machine.vcpu.setState({ rsp: BigInt(STACK) });
  const behind = new Uint8Array(memory.buffer, memory.byteOffset + MEMORY, BEHIND).fill(0xa5);
  return { machine, behind, before: behind.slice() };
}

const RUNS = { numRuns: 40, endOnFailure: true };

describe('any hypercall with any arguments', () => {
  it("leaves what is not the guest's untouched, and ends in an exit reason", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(call, { minLength: 1, maxLength: 60 }), fc.boolean(), async (calls, paging) => {
        const { machine, behind, before } = await machineWith(LOOP);
        machine.runSync({ maxInstructions: 6 }); // LGUEST_INIT
        expect(LguestData.read(machine.memory, DATA).reserve_mem).toBe(0x40_0000);
        const hypercalls = paging ? [{ number: 4, args: [DIRECTORY, 0, 0, 0], slot: null }, ...calls] : calls;
        for (const { number, args, slot } of hypercalls) {
          const [a1, a2, a3, a4] = args;
          if (slot !== null) {
            machine.memory.writeU8(DATA + LguestData.offsetOf('hcall_status') + slot, 0);
            [number, ...args].forEach((value, i) => {
              machine.memory.writeU32(DATA + LguestData.offsetOf('hcalls') + 20 * slot + 4 * i, value);
            });
          }
          const [rax, rbx, rcx, rdx, rsi] = [slot === null ? number : 0, a1, a2, a3, a4].map(BigInt);
          machine.vcpu.setState({ rax, rbx, rcx, rdx, rsi, rip: BigInt(CODE + init().length) });
          const exit = machine.runSync({ maxInstructions: 1 });
          expect(KINDS).toContain(exit.kind);
          if (exit.kind === 'killed') expect(exit.detail).toMatch(/^lguest(: the guest| killed the guest: )/);
          if (exit.kind !== 'instruction-limit') break;
          machine.runSync({ maxInstructions: 20 }); // whatever the guest does with what it got
        }
        expect(Buffer.compare(behind, before)).toBe(0);
      }),
      RUNS,
    );
  }, 60_000);

  it('before LGUEST_INIT kills, unless it is that', async () => {
    await fc.assert(
      fc.asyncProperty(call, async ({ number, args }) => {
        const { machine, behind, before } = await machineWith([0xcd, 0x1f, 0xeb, 0xfe]);
        const [rax, rbx, rcx, rdx, rsi] = [number, ...args].map(BigInt);
        machine.vcpu.setState({ rax, rbx, rcx, rdx, rsi });
        const exit = machine.runSync({ maxInstructions: 2 });
        expect(exit.kind).toBe(number === 1 && args[0] === DATA ? 'instruction-limit' : 'killed');
        expect(Buffer.compare(behind, before)).toBe(0);
      }),
      { ...RUNS, numRuns: 25 },
    );
  }, 60_000);
});

describe('random code in ring 1', () => {
  it('ends in an exit reason, the same one instruction by instruction', async () => {
    const instruction = fc.constantFrom(
      [0xcd, 0x1f], [0xcd, 0x80], [0xcc], [0xcf], [0x9d], [0x9c], [0xfa], [0xfb], [0xf4], [0xec], [0xee], [0x8e, 0xd8], [0x8e, 0xd0],
      [0x1f], [0x0f, 0x01], [0x0f, 0x22, 0xd8], [0x0f, 0x20, 0xc0], [0x0f, 0x0b], [0xa1], [0xa3], [0x50], [0x58], [0x40], [0xbb],
      [0xb8, 0x12, 0, 0, 0], [0xb8, 6, 0, 0, 0], [0xb8, 4, 0, 0, 0], [0xb8, 9, 0, 0, 0], [0xb8, 10, 0, 0, 0], [0xeb], [0xea], [0xca],
      [0xbb, 0, 0, 0x14, 0], [0x83, 0xc8], [0xf3, 0xaa], [0x0f, 0x05], [0x0f, 0x34], [0x17], [0x0f, 0xa9], [0x8c, 0xd8],
    ); // biome-ignore format: a table
    const code = fc.array(
      fc.oneof(
        { weight: 3, arbitrary: instruction },
        { weight: 1, arbitrary: fc.array(fc.nat(255), { maxLength: 5 }) },
      ),
      { maxLength: 60 },
    );
    await fc.assert(
      fc.asyncProperty(code, async (parts) => {
        const bytes = [...init(), ...parts.flat()];
        const { machine } = await machineWith(bytes);
        const exit = machine.runSync({ maxInstructions: 3000 });
        expect(KINDS).toContain(exit.kind);
        const { machine: alone } = await machineWith(bytes, true);
        expect(alone.runSync({ maxInstructions: 3000 })).toEqual(exit);
        expect(alone.outcome()).toEqual(machine.outcome());
      }),
      RUNS,
    );
  }, 60_000);
});
