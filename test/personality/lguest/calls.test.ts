/** Each hypercall of lguest's late ABI, by guests that use it and guests that use it wrongly. */
import { describe, expect, it } from 'vitest';
import { CALLS } from '../../../src/personality/lguest/calls.ts';
import {CODE, 
  call, DATA, DIRECTORY, gate, HANDLER, HLT_LOOP, identity, init, killedFor, le32, loadEax, MEMORY, mov, NOTES, noteFrame,
  powerOff, R, run, STACK, store, storeEax, TABLE, TEXT, UD2, USER,
} from './guest.ts'; // biome-ignore format: names

const TOP = 0xffc0_0000;
const text = (words: string) => [...new TextEncoder().encode(words)];
const good = { kind: 'power-off', code: 0 };

it('has the numbers and names of Linux 4.1, in their order', () => {
  expect(CALLS.map(({ number, name }) => `${number} ${name}`)).toEqual([
    '0 FLUSH_ASYNC', '1 LGUEST_INIT', '2 SHUTDOWN', '3 LOAD_GDT', '4 NEW_PGTABLE', '5 FLUSH_TLB', '6 LOAD_IDT_ENTRY', '7 SET_STACK',
    '8 TS', '9 SET_CLOCKEVENT', '10 HALT', '11 GET_WALLCLOCK', '12 BIND_DMA', '13 SET_PMD', '14 SET_PTE', '15 SET_PGD',
    '16 LOAD_TLS', '17 NOTIFY', '18 LOAD_GDT_ENTRY', '19 SEND_INTERRUPTS',
  ]); // biome-ignore format: a table
});

it('leaves every register but EIP as it was', async () => {
  const { machine } = await run({ code: [...init(), ...call(0, 0x11, 0x22, 0x33, 0x44), ...UD2] });
  expect(machine.vcpu.state()).toMatchObject({ rax: 0n, rbx: 0x11n, rcx: 0x22n, rdx: 0x33n, rsi: 0x44n, rdi: 0n });
});

describe('LGUEST_INIT', () => {
  it('must come first', async () => {
    expect(await killedFor({ code: call(19) })).toMatch(/hypercall LHCALL_SEND_INTERRUPTS \(19\) before LGUEST_INIT$/);
    expect(await killedFor({ code: call(99) })).toMatch(/hypercall 99 before LGUEST_INIT$/);
  });
  it('must not come twice', async () => {
    expect(await killedFor({ code: [...init(), ...init()] })).toMatch(/calls LGUEST_INIT a second time/);
  });
  it.each([MEMORY - 0x56b, MEMORY, 0xffff_f000])('refuses a page that is not memory: 0x%x', async (at) => {
    expect(await killedFor({ code: call(1, at) })).toMatch(/lguest_data at 0x[0-9a-f]+, 1388 bytes, lies outside/);
  });
  it('takes one that ends where memory does', async () => {
    const at = MEMORY - 0x56c;
    const fields = [...new Array(64).fill(0xff)];
    const code = [...call(1, at), ...powerOff()];
    const { exit, machine } = await run({
      code,
      at: { [at + 0x18]: fields, [at + 0x564]: [...le32(0xc000_0000), ...le32(0x80)] },
    });
    expect(exit).toMatchObject(good);
    expect(machine.memory.readU32(at + 0x558)).toBe(0x40_0000);
  });
  it("fills in what is the host's: time, tsc_khz and the top 4 MiB", async () => {
    const { data } = await run({ code: [...init(), ...powerOff()] });
    expect(data).toMatchObject({ reserve_mem: 0x40_0000, tsc_khz: 1_000_000, irq_pending: 0 });
    expect(data.time.tv_sec).toBeGreaterThan(1_500_000_000);
    expect(data.time.tv_nsec).toBeLessThan(1000);
  });
  it.each([0, 0x81, 0x1f, 0xffff_ffff])('refuses system call vector 0x%x', async (vector) => {
    expect(await killedFor({ code: init(), data: { syscall_vec: vector } })).toMatch(/bad syscall vector/);
  });
  it.each([TOP, 0xffff_ffff])('refuses a kernel that begins where the host is: 0x%x', async (address) => {
    expect(await killedFor({ code: init(), data: { kernel_address: address } })).toMatch(/bad kernel address/);
  });
});

describe('SHUTDOWN', () => {
  const last = (words: string, reason: number) =>
    run({ code: [...init(), ...call(2, NOTES, reason)], at: { [NOTES]: text(words) } });
  it.each([
    ['Power down', 1, { kind: 'power-off', code: 0, detail: expect.stringContaining('poweroff, saying "Power down"') }],
    ['bye', 2, { kind: 'power-off', code: 0, detail: expect.stringContaining('reboot, saying "bye"') }],
    [
      'Attempted to kill init',
      1,
      { kind: 'crashed', code: 4, detail: expect.stringContaining('"Attempted to kill init"') },
    ],
    ['', 0, { kind: 'crashed', code: 4 }],
  ])('with %j and reason %i ends so', async (words, reason, end) => {
    expect((await last(words, reason)).exit).toMatchObject(end);
  });
  it('cuts a message without an end after 127 bytes', async () => {
    const { exit } = await last('x'.repeat(500), 1);
    expect(exit.detail).toContain(`"${'x'.repeat(127)}"`);
  });
  it.each([MEMORY - 127, MEMORY, 0xffff_ffff])('kills for a message outside memory, at 0x%x', async (at) => {
    expect(await killedFor({ code: [...init(), ...call(2, at, 1)] })).toMatch(/its last message at .* lies outside/);
  });
});

describe('calls that are not built', () => {
  it.each([
    [3, 'LHCALL_LOAD_GDT (3)'],
    [11, 'LHCALL_GET_WALLCLOCK (11)'],
    [12, 'LHCALL_BIND_DMA (12)'],
    [13, 'LHCALL_SET_PMD (13)'],
  ])('%i kills by name, and is reported', async (number, name) => {
    const { exit, missing } = await run({ code: [...init(), ...call(number)] });
    expect(exit).toMatchObject({ kind: 'killed', code: 4 });
    expect(exit.detail).toContain(`bad hypercall ${name}: `);
    expect(missing).toEqual([name]);
  });
  it.each([20, 255, 0x8000_0000, 0xffff_ffff])('number %i is no call at all', async (number) => {
    const { exit, missing } = await run({ code: [...init(), ...call(number)] });
    expect(exit).toMatchObject({ kind: 'killed', detail: `lguest killed the guest: bad hypercall ${number}` });
    expect(missing).toEqual([]);
  });
});

describe('NEW_PGTABLE', () => {
  const paged = (...more: number[]) => [...init(), ...call(4, DIRECTORY), ...more];
  it('sets CR3 and turns paging on', async () => {
    const { exit, machine } = await run({ code: paged(...powerOff()), at: identity() });
    expect(exit).toMatchObject(good);
    expect(machine.vcpu.state()).toMatchObject({ cr3: BigInt(DIRECTORY) });
    expect(machine.vcpu.state().cr0 >> 31n).toBe(1n);
  });
  it("puts the host into the directory's last entry, where segments are found from then on", async () => {
    const reload = [...mov(R.eax, 0x69), 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0]; // mov ds, ax; mov es, ax; mov ss, ax
    const { exit, machine } = await run({ code: paged(...reload, ...powerOff()), at: identity() });
    expect(exit).toMatchObject(good);
    expect(machine.memory.readU32(DIRECTORY + 4092)).toBe(TOP + 0xa1);
  });
  it.each([
    [DIRECTORY + 4, /is not a whole page/],
    [MEMORY, /page directory at .* lies outside/],
    [0xffff_f000, /page directory at .* lies outside/],
  ])('refuses 0x%x', async (at, why) => {
    expect(await killedFor({ code: [...init(), ...call(4, at)] })).toMatch(why);
  });
  it.each([
    ['points outside its memory', ((MEMORY + 0xfff) & ~0xfff) | 7, /bad page directory entry 5: .* points outside/],
    ['maps 4 MiB', 0x87, /bad page directory entry 5: .* flags/],
  ])('kills for a directory entry that %s', async (_, entry, why) => {
    const at = { ...identity(), [DIRECTORY + 20]: le32(entry) };
    expect(await killedFor({ code: paged(), at })).toMatch(why);
  });
});

describe('page tables that change', () => {
  /** Reads a page, maps another one there without a word, then makes a call, and reads again. */
  const VA = 0x18_0000;
  const remap = (...between: number[]) => ({
    code: [
      ...init(), ...call(4, DIRECTORY), ...loadEax(VA), ...storeEax(NOTES),
      ...store(TABLE + 4 * (VA / 4096), (VA + 0x1000) | 7), ...between, ...loadEax(VA), ...storeEax(NOTES + 4), ...powerOff(),
    ],
    at: { ...identity(), [VA]: le32(0x1111), [VA + 0x1000]: le32(0x2222) },
  }); // biome-ignore format: a table
  it.each([
    ['FLUSH_TLB of user mappings', call(5, 0)],
    ['FLUSH_TLB of all', call(5, 1)],
    ['SET_PTE', call(14, DIRECTORY, VA, (VA + 0x1000) | 7)],
    ['SET_PTE of nothing', call(14, DIRECTORY, VA, 0)],
    ['SET_PGD', call(15, DIRECTORY, 0)],
    ['NEW_PGTABLE', call(4, DIRECTORY)],
  ])('are seen after %s', async (_, calls) => {
    const { exit, notes } = await run(remap(...calls));
    expect(exit).toMatchObject(good);
    expect(notes(2)).toEqual([0x1111, 0x2222]);
  });

  it.each([
    ['SET_PTE', call(14, DIRECTORY, VA, (0x7fff_f000 | 7) >>> 0), /bad page table entry for 0x180000/],
    [
      'SET_PGD of an entry that is not there',
      call(15, DIRECTORY, 1024),
      /sets page directory entry 1024, and there are 1024/,
    ],
    ['SET_PGD of nowhere', call(15, 0x7000_0000, 0), /page directory at .* lies outside/],
  ])('kill in %s that leads out of memory', async (_, calls, why) => {
    expect(await killedFor(remap(...calls))).toMatch(why);
  });
  it('kill in SET_PGD of a bad entry', async () => {
    const code = [...init(), ...call(4, DIRECTORY), ...store(DIRECTORY + 8, 0x8000_0007), ...call(15, DIRECTORY, 2)];
    expect(await killedFor({ code, at: identity() })).toMatch(/bad page directory entry 2: 0x80000007 points outside/);
  });
});

describe('LOAD_IDT_ENTRY', () => {
  it('sets a handler, and a gate that is not present takes it away', async () => {
    const handler = { [HANDLER]: powerOff() };
    expect((await run({ code: [...init(), ...gate(6, HANDLER), ...UD2], at: handler })).exit).toMatchObject(good);
    const gone = [...init(), ...gate(6, HANDLER), ...call(6, 6, 0, 0), ...UD2];
    expect(await killedFor({ code: gone, at: handler })).toMatch(/unhandled trap 6 at 0x10[0-9a-f]{4}/);
  });
  it.each([2, 8, 15, 0x1f])("ignores vector %i, which is the host's", async (vector) => {
    const { exit } = await run({ code: [...init(), ...call(6, vector, 0, 0x8500), ...powerOff()] });
    expect(exit).toMatchObject(good);
  });
  it.each([
    [256, 0x8e00, /sets IDT entry 256, and there are 256/],
    [0xffff_ffff, 0x8e00, /sets IDT entry 4294967295/],
    [6, 0x8500, /sets IDT entry 6 to type 0x5/],
    [6, 0x8c00, /type 0xc/],
  ])('kills for vector %i with 0x%x', async (vector, high, why) => {
    expect(await killedFor({ code: [...init(), ...call(6, vector, 0, high)] })).toMatch(why);
  });
});

describe('SET_STACK', () => {
  it.each([
    ['of ring 0', [0x68, STACK, 1], /bad stack segment 0x68: it is not of ring 1/],
    ['of ring 3', [0x7b, STACK, 1], /bad stack segment 0x7b/],
    ['of three pages', [0x69, STACK, 3], /bad stack: 3 pages/],
  ])('kills for a stack %s', async (_, [ss, esp, pages], why) => {
    expect(await killedFor({ code: [...init(), ...call(7, ss, esp, pages)] })).toMatch(why);
  });
  it('kills for a page that is not mapped, and for one that is read-only', async () => {
    for (const entry of [0, 0x17_f000 | 1]) {
      const code = [...init(), ...call(4, DIRECTORY), ...call(7, 0x69, 0x18_0000, 1)];
      expect(await killedFor({ code, at: identity({ 1568768: entry }) })).toMatch(
        /kernel stack is not there: 0x17ffff/,
      );
    }
  });
  it('looks at the page below, too, when told that there are two', async () => {
    const set = (pages: number) => [
      ...init(),
      ...call(4, DIRECTORY),
      ...call(7, 0x69, 0x18_0000, pages),
      ...powerOff(),
    ];
    const at = identity({ 1564672: 0 });
    expect((await run({ code: set(1), at })).exit).toMatchObject(good);
    expect(await killedFor({ code: set(2), at })).toMatch(/0x17efff/);
  });
});

it('TS sets and clears CR0.TS', async () => {
  const ts = async (...values: number[]) => {
    const { machine } = await run({ code: [...init(), ...values.flatMap((value) => call(8, value)), ...powerOff()] });
    return (machine.vcpu.state().cr0 >> 3n) & 1n;
  };
  expect([await ts(), await ts(1), await ts(0x100), await ts(1, 0)]).toEqual([0n, 1n, 1n, 0n]);
});

describe('HALT and SET_CLOCKEVENT', () => {
  const sleeps = (...calls: number[]) => ({
    code: [...init(), ...gate(32, HANDLER), ...calls, ...call(10), ...HLT_LOOP],
    at: { [HANDLER]: powerOff() },
  });
  it.each([100, 50_000, 4_000_000_000])('sleeps for %i ns', async (ns) => {
    const { exit, machine } = await run(sleeps(...call(9, ns)));
    expect(exit).toMatchObject(good);
    expect(machine.virtualTimeNs).toBeGreaterThanOrEqual(ns);
    expect(machine.virtualTimeNs).toBeLessThan(ns + 200);
  });
  it.each([
    ['no clock event', []],
    ['one that was taken back', [...call(9, 1_000_000), ...call(9, 0)]],
  ])('with %s halts for good', async (_, calls) => {
    expect((await run(sleeps(...calls))).exit).toMatchObject({ kind: 'halted', code: 5 });
  });
  it('halts for good while the clock is blocked', async () => {
    const { exit } = await run({ ...sleeps(...call(9, 1000)), data: { blocked_interrupts: 1 } });
    expect(exit).toMatchObject({ kind: 'halted', code: 5 });
  });
});

describe('descriptors', () => {
  const FLAT = [0xffff, 0x00cf_9300] as const;
  const loadFs = (selector: number) => [...mov(R.eax, selector), 0x8e, 0xe0];
  const fault = { [HANDLER]: noteFrame(2) }; // the error code of a #GP, and EIP
  it('are raised from DPL 0 to 1, and marked as accessed', async () => {
    const { machine } = await run({
      code: [...init(), ...call(18, 20, FLAT[0], 0x00cf_9200), ...loadFs(0xa1), ...powerOff()],
    });
    expect(machine.vcpu.state().segments.fs).toMatchObject({ selector: 0xa1, attributes: 0xc0b3, limit: 0xffff_ffff });
  });
  it.each([1, 2, 3])('keep DPL %i', async (dpl) => {
    const { machine } = await run({
      code: [...init(), ...call(18, 20, FLAT[0], FLAT[1] | (dpl << 13)), ...loadFs(0xa0 | 1), ...powerOff()],
    });
    expect((machine.vcpu.state().segments.fs.attributes >> 5) & 3).toBe(dpl);
  });
  it('keep their base and limit', async () => {
    const { machine } = await run({
      code: [...init(), ...call(18, 20, 0x5678_1234, 0x1240_9234), ...loadFs(0xa1), ...powerOff()],
    });
    expect(machine.vcpu.state().segments.fs).toMatchObject({ base: 0x1234_5678n, limit: 0x1234 });
  });
  it.each([10, 11, 16, 31])("of entry %i are the host's, and what a guest puts there is nowhere", async (index) => {
    const code = [
      ...init(),
      ...gate(13, HANDLER),
      ...call(18, index, ...FLAT),
      ...loadFs(index * 8 + 1),
      ...powerOff(),
    ];
    const { notes } = await run({ code, at: fault });
    expect(notes(1)).toEqual([index * 8]);
  });
  it.each([
    ['a TSS', 0x8900],
    ['a call gate', 0x8c00],
    ['an LDT', 0x8200],
  ])('that would be %s are kept as not present', async (_, high) => {
    const code = [
      ...init(),
      ...gate(11, HANDLER),
      ...gate(13, HANDLER),
      ...call(18, 20, 0, high | 0x6000),
      0xea,
      ...le32(0),
      0xa1,
      0,
    ]; // ljmp
    const { exit, notes } = await run({ code, at: fault });
    expect(exit).toMatchObject(good);
    expect(notes(1)).toEqual([0xa0]);
  });
  it.each([32, 0xffff_ffff])('of entry %i kill', async (index) => {
    expect(await killedFor({ code: [...init(), ...call(18, index, ...FLAT)] })).toMatch(
      /it sets GDT entry \d+, and there are 32/,
    );
  });
  it('of TLS come three at a time, into entries 6 to 8', async () => {
    const three = [0x1000, 0x2000, 0x3000].flatMap((base) => [...le32((base << 16) | 0xffff), ...le32(0x00cf_f200)]);
    const code = [...init(), ...call(16, NOTES + 64, 0), ...loadFs(0x43), ...powerOff()];
    const { exit, machine } = await run({ code, at: { [NOTES + 64]: three } });
    expect(exit).toMatchObject(good);
    expect(machine.vcpu.state().segments.fs).toMatchObject({ selector: 0x43, base: 0x3000n });
  });
  it.each([MEMORY - 23, 0xffff_ffff])('of TLS that lie outside memory, at 0x%x, kill', async (at) => {
    expect(await killedFor({ code: [...init(), ...call(16, at, 0)] })).toMatch(/its TLS descriptors at .* lie/);
  });
});

describe('NOTIFY', () => {
  it('prints the string at an address', async () => {
    const { console } = await run({
      code: [...init(), ...call(17, NOTES), ...powerOff()],
      at: { [NOTES]: text('hello\n\0world') },
    });
    expect(console).toBe('hello\n');
  });
  it('prints a page of a string without an end, and what there is before memory ends', async () => {
    const endless = { [USER]: new Uint8Array(0x3000).fill(0x61), [MEMORY - 3]: text('abc') };
    const { console } = await run({
      code: [...init(), ...call(17, USER), ...call(17, MEMORY - 3), ...powerOff()],
      at: endless,
    });
    expect(console).toBe(`${'a'.repeat(4096)}abc`);
  });
  it.each([MEMORY, 0xffff_ffff])('kills for an address outside memory, 0x%x', async (at) => {
    expect(await killedFor({ code: [...init(), ...call(17, at)] })).toMatch(
      /the string that it notifies of at .* lies outside/,
    );
  });
});

describe('the ring of calls', () => {
  const slot = (index: number, ...words: number[]) => [
    ...[0, 1, 2, 3, 4].flatMap((i) => store(DATA + 0x58 + 20 * index + 4 * i, words[i] ?? 0)),
    0xc6, 0x05, ...le32(DATA + 0x18 + index), 0, // movb $0, status
  ]; // biome-ignore format: one line
  const at = Object.fromEntries(['a', 'b', 'c'].map((letter, i) => [NOTES + 2 * i, text(`${letter}\0`)]));
  const say = (n: number) => [17, NOTES + 2 * n];

  it('is worked off before any call, in order, and given back', async () => {
    const code = [...init(), ...slot(0, ...say(0)), ...slot(1, ...say(1)), ...call(17, NOTES + 4), ...powerOff()];
    const { console, data } = await run({ code, at });
    expect(console).toBe('abc');
    expect(data.hcall_status).toEqual(new Array(64).fill(0xff));
  });
  it('goes on where it stopped, and around', async () => {
    const round = [...Array(64).keys()].flatMap((i) => slot(i, ...say(i % 3)));
    const { console } = await run({
      code: [...init(), ...round, ...call(0), ...slot(0, ...say(2)), ...call(0), ...powerOff()],
      at,
    });
    expect(console).toBe(`${'abc'.repeat(21)}ac`);
  });
  it('stops at the first slot that is not filled', async () => {
    const { console, data } = await run({
      code: [...init(), ...slot(0, ...say(0)), ...slot(2, ...say(2)), ...call(0), ...powerOff()],
      at,
    });
    expect(console).toBe('a');
    expect(data.hcall_status.slice(0, 4)).toEqual([0xff, 0xff, 0, 0xff]);
  });
  it('is not looked at before LGUEST_INIT, nor by it', async () => {
    const { console } = await run({ code: [...slot(0, ...say(0)), ...init(), ...UD2], at });
    expect(console).toBe('');
  });
  it('obeys the same rules', async () => {
    expect(await killedFor({ code: [...init(), ...slot(0, 1, DATA), ...call(0)] })).toMatch(
      /LGUEST_INIT a second time/,
    );
    expect(await killedFor({ code: [...init(), ...slot(0, 77), ...call(0)] })).toMatch(/bad hypercall 77/);
  });
  it('ends with a shutdown: what comes behind is not done', async () => {
    const { exit, console } = await run({
      code: [...init(), ...slot(0, 2, TEXT, 1), ...slot(1, ...say(0)), ...call(17, NOTES)],
      at,
    });
    expect(exit).toMatchObject(good);
    expect(console).toBe('');
  });
});

it('a guest that jumps where no memory is ends, too', async () => {
  const { exit } = await run({ code: [...init(), 0xe9, ...le32(0x7000_0000 - CODE)] });
  expect(exit.code).toBe(4);
});
