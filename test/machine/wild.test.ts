import { describe, expect, it } from 'vitest';
import { planBoot } from '../../src/boot/index.ts';
import { flatImage } from '../../src/image/parse.ts';
import { Machine, type MachineOptions } from '../../src/machine/machine.ts';

/** Guests that do what no guest should. Each ends with an exit reason; none may end us. */
type Via = 'flat32' | 'flat64';

const machineFor = (via: Via, code: readonly number[] | Uint8Array, options: MachineOptions = {}) =>
  Machine.create(planBoot(flatImage('wild', Uint8Array.from(code)), { via, memory: '2M' }), options);

const dword = (value: number) => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24];
const FOREVER = [0xeb, 0xfe];

describe('a wild guest', () => {
  const guests: [string, Via, number[]][] = [
    ['jumps to nowhere', 'flat32', [0xe9, ...dword(0x7000_0000)]],
    ['jumps to an address that is not canonical', 'flat64', [0x48, 0xb8, 0, 0, 0, 0, 0, 0x80, 0, 0, 0xff, 0xe0]], // mov rax,0x800000000000; jmp rax
    ['has its stack at 0 and pushes', 'flat64', [0x31, 0xe4, 0x50, ...FOREVER]], // xor esp,esp; push rax
    ['has its stack at 0 and faults', 'flat32', [0x31, 0xe4, 0x0f, 0x0b]],
    ['puts its page tables where no RAM is', 'flat64', [0xb8, ...dword(0xfee0_0000), 0x0f, 0x22, 0xd8, ...FOREVER]], // mov eax,..; mov cr3,rax
    ['puts its page tables behind the end of RAM', 'flat64', [0xb8, ...dword(0x20_0000), 0x0f, 0x22, 0xd8, ...FOREVER]],
    ['clears its own page tables', 'flat64', [0xbf, ...dword(0x1000), 0x31, 0xc0, 0xb9, ...dword(0x6000), 0xf3, 0xaa, 0x0f, 0x22, 0xd8, ...FOREVER]], // rep stosb; mov cr3,rax = 0
    ['overwrites all memory, itself too', 'flat32', [0xbf, ...dword(0), 0xb0, 0xf4, 0xb9, ...dword(0x7fff_ffff), 0xf3, 0xaa, ...FOREVER]],
    ['overwrites the instruction it is running', 'flat32', [0xbf, ...dword(0x10_0000), 0xb9, ...dword(64), 0x31, 0xc0, 0xf3, 0xab, ...FOREVER]],
    ['loads an IDT full of zeros', 'flat32', [0x0f, 0x01, 0x1d, ...dword(0x9000), 0xcc, ...FOREVER]],
    ['loads a GDT that is not there and reloads its segments', 'flat32', [0x0f, 0x01, 0x15, ...dword(0x9000), 0x8e, 0xd8, 0xb0, 0x10, 0x8e, 0xd0, 0x0f, 0x0b]],
    ['asks for real mode', 'flat32', [0x0f, 0x20, 0xc0, 0x24, 0xfe, 0x0f, 0x22, 0xc0, ...FOREVER]], // CR0.PE off
    ['runs off the end of RAM', 'flat32', [0xe9, ...dword(0x1f_ffff - 0x10_0005)]],
    ['writes over every port', 'flat32', [0x42, 0xee, 0xeb, 0xfc]], // inc edx; out dx,al
    ['reads MMIO for ever', 'flat32', [0xa1, ...dword(0xfee0_0000), 0xeb, 0xf9]],
  ]; // biome-ignore format: a table
  it.each(guests)('that %s ends with a reason', async (_what, via, code) => {
    const machine = await machineFor(via, code);
    const exit = machine.runSync({ maxInstructions: 200_000, timeoutSeconds: 20 });
    expect(exit.kind).not.toBe('timeout');
    expect(exit.detail).not.toBe('');
    expect([0, 1, 4, 5, 6]).toContain(exit.code);
    expect(machine.outcome().instructions).toBeLessThanOrEqual(200_000);
  });

  it('whose every exception faults again is stopped, although it never completes an instruction', async () => {
    const machine = await machineFor('flat32', [0x0f, 0x0b]);
    const gate = [0, 0, 0x10, 0, 0, 0x8e, 0x10, 0]; // #UD goes to 0x100000, which is #UD
    machine.memory.write(0x9000 + 6 * 8, Uint8Array.from(gate));
    machine.vcpu.setState({ idtr: { base: 0x9000n, limit: 0x7ff } });
    expect(machine.runSync({ timeoutSeconds: 20 })).toMatchObject({ kind: 'fault-loop', code: 4 });
    expect(machine.instructions).toBe(0);
  });
});

/** Marsaglia's xorshift32: the same programs everywhere. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Random bytes as code, with an IDT whose handlers are random places in it, so that faults are not the end. */
async function randomGuest(seed: number, options: MachineOptions): Promise<object> {
  const next = random(seed);
  const via: Via = next() & 1 ? 'flat32' : 'flat64';
  const code = Uint8Array.from({ length: 512 }, () => (next() >>> 11) & 0xff);
  const size = via === 'flat64' ? 16 : 8;
  const idt = new DataView(new ArrayBuffer(256 * size));
  for (let vector = 0; vector < 256; vector++) {
    const handler = 0x10_0000 + (next() % 500);
    idt.setUint16(vector * size, handler & 0xffff, true);
    idt.setUint16(vector * size + 2, 0x10, true);
    idt.setUint8(vector * size + 5, next() & 1 ? 0x8e : 0xef);
    idt.setUint16(vector * size + 6, handler >>> 16, true);
  }
  const machine = await machineFor(via, code, options);
  machine.memory.write(0x9000, new Uint8Array(idt.buffer));
  machine.vcpu.setState({ idtr: { base: 0x9000n, limit: idt.byteLength - 1 } });
  const exit = machine.runSync({ maxInstructions: 5000 });
  return { exit, ...machine.outcome() };
}

describe('random bytes as code', () => {
  it('end the same way in blocks, in odd quanta, and one instruction at a time', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const other = seed & 1 ? { plain: true } : { quantum: 97 };
      expect(await randomGuest(seed * 7919, other), `seed ${seed * 7919}`).toEqual(await randomGuest(seed * 7919, {}));
    }
  }, 60_000);
});
