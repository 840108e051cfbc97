/** Exceptions, INT n, port instructions and memory that is not the guest's: guests of lguest that break one rule each, and
 * what those that break none find on their stack. */
import { describe, expect, it } from 'vitest';
import {
  CODE, call, DIRECTORY, gate, HANDLER, HLT_LOOP, identity, init, KERNEL_STACK, killedFor, le32, loadEax, MEMORY, mov, NOTES, noteFrame,
  powerOff, R, run, STACK, store, storeEax, TABLE, UD2, USER,
} from './guest.ts'; // biome-ignore format: names

const TOP = 0xffc0_0000;
const good = { kind: 'power-off', code: 0 };
/** EFLAGS.RF, as a fault pushes it. */
const RF = 0x1_0000;
/** Ring 3 segments in entries 14 and 15, a stack for the way back, then down to USER. */
const userMode = () => [
  ...call(18, 14, 0xffff, 0x00cf_fb00), ...call(18, 15, 0xffff, 0x00cf_f300), ...call(7, 0x69, KERNEL_STACK, 1),
  0x68, ...le32(0x7b), 0x68, ...le32(STACK - 0x1000), 0x68, ...le32(0x202), 0x68, ...le32(0x73), 0x68, ...le32(USER), 0xcf, // iret
]; // biome-ignore format: one line
const paged = () => call(4, DIRECTORY);

describe('an exception in ring 1', () => {
  it('finds EIP, CS and EFLAGS on the stack, IF as irq_enabled has it, RF for a fault', async () => {
    for (const enabled of [0, 0x200]) {
      const code = [...init(), ...gate(6, HANDLER), ...UD2];
      const { notes } = await run({ code, at: { [HANDLER]: noteFrame(3) }, data: { irq_enabled: enabled } });
      expect(notes(3)).toEqual([CODE + code.length - 2, 0x61, RF | 0x002 | enabled]);
    }
  });
  it.each([
    ['an interrupt gate', 0xe, 0],
    ['a trap gate', 0xf, 0x200],
  ])('through %s leaves irq_enabled so: 0x%x', async (_, type, left) => {
    const code = [...init(), ...gate(6, HANDLER, type), ...UD2];
    const { data } = await run({ code, at: { [HANDLER]: powerOff() }, data: { irq_enabled: 0x200 } });
    expect(data.irq_enabled).toBe(left);
  });
  it("through a trap gate that goes past the host shows the hardware's IF, which is always set", async () => {
    const code = [...init(), ...gate(6, HANDLER, 0xf), ...UD2];
    const { notes } = await run({ code, at: { [HANDLER]: noteFrame(3) }, data: { irq_enabled: 0 } });
    expect(notes(3)[2]).toBe(RF | 0x202);
  });
  it('pushes its error code, which IRET does not pop', async () => {
    const code = [...init(), ...gate(13, HANDLER), ...mov(R.eax, 0x1234), 0x8e, 0xe0]; // mov fs, ax
    const { notes } = await run({ code, at: { [HANDLER]: noteFrame(4) } });
    expect(notes(4)).toEqual([0x1234, CODE + code.length - 2, 0x61, RF | 2]);
  });
  it('of a page is told with its address in lguest_data', async () => {
    const code = [...init(), ...gate(14, HANDLER), ...paged(), ...loadEax(0x1e_0abc)];
    const { notes, data } = await run({ code, at: { ...identity({ 1966080: 0 }), [HANDLER]: noteFrame(2) } });
    expect(notes(2)).toEqual([0, CODE + code.length - 5]);
    expect(data.cr2).toBe(0x1e_0abc);
  });
  it('goes on after IRET, with all its registers', async () => {
    const handler = [0x83, 0x04, 0x24, 2, 0xcf]; // add dword [esp], 2; iret
    const code = [...init(), ...gate(6, HANDLER), ...mov(R.edi, 0x77), ...UD2, ...powerOff()];
    const { exit, machine } = await run({ code, at: { [HANDLER]: handler } });
    expect(exit).toMatchObject(good);
    expect(machine.vcpu.state()).toMatchObject({ rdi: 0x77n, rsp: BigInt(STACK) });
  });
  it.each([
    ['ud2', UD2, /unhandled trap 6 at 0x10[0-9a-f]+$/],
    ['a division by zero', [0x31, 0xc9, 0xf7, 0xf1], /unhandled trap 0 at/],
    ['lgdt', [0x0f, 0x01, 0x15, ...le32(NOTES)], /unhandled trap 13 at 0x10[0-9a-f]+ \(0x0\)$/],
    ['lidt', [0x0f, 0x01, 0x1d, ...le32(NOTES)], /unhandled trap 13/],
    ['mov cr3', [0x0f, 0x22, 0xd8], /unhandled trap 13/],
    ['reading cr0', [0x0f, 0x20, 0xc0], /unhandled trap 13/],
    ['hlt', [0xf4], /unhandled trap 13/],
    ['sti', [0xfb], /unhandled trap 13/],
    ['wrmsr', [0x0f, 0x30], /unhandled trap 13/],
    ['invlpg', [0x0f, 0x01, 0x38], /unhandled trap 13/],
    ['ltr', [0x0f, 0x00, 0xd8], /unhandled trap 13/],
    [
      'a page that is not there',
      [...paged(), ...loadEax(0x1e_0abc)],
      /unhandled trap 14 at 0x10[0-9a-f]+ \(0x1e0abc\)$/,
    ],
    ['syscall', [0x0f, 0x05], /unhandled trap 6/],
  ])('that nobody handles kills: %s', async (_, code, why) => {
    expect(await killedFor({ code: [...init(), ...code], at: identity({ 1966080: 0 }) })).toMatch(why);
  });
  it('before the first hypercall kills as well', async () => {
    expect(await killedFor({ code: UD2 })).toBe('lguest killed the guest: unhandled trap 6 at 0x100000');
  });
});

describe('a trap from ring 3', () => {
  const user = (code: number[], handler: number[], vector = 6) => ({
    code: [...init(), ...paged(), ...gate(vector, HANDLER, 0xe, 3), ...userMode()],
    at: { ...identity(), [USER]: code, [HANDLER]: handler },
  });
  it("comes on the stack of SET_STACK, with the user's below all", async () => {
    const { notes, machine } = await run(user(UD2, noteFrame(5)));
    expect(notes(5)).toEqual([USER, 0x73, RF | 0x002, STACK - 0x1000, 0x7b]);
    expect(machine.vcpu.state()).toMatchObject({ rsp: BigInt(KERNEL_STACK - 20), cpl: 1 });
    expect(machine.vcpu.state().segments).toMatchObject({ cs: { selector: 0x61 }, ss: { selector: 0x69 } });
  });
  it('is a system call by int 0x80, which goes on behind it', async () => {
    const { notes } = await run(user([0xcd, 0x80], noteFrame(2), 0x80));
    expect(notes(2)).toEqual([USER + 2, 0x73]);
  });
  it('goes back by IRET', async () => {
    const spec = user([0xcd, 0x80, ...UD2], [0xcf], 0x80);
    spec.code = [...spec.code.slice(0, spec.code.length - userMode().length), ...gate(6, HANDLER + 16), ...userMode()];
    const { exit, notes } = await run({ ...spec, at: { ...spec.at, [HANDLER + 16]: noteFrame(2) } });
    expect(exit).toMatchObject(good);
    expect(notes(2)).toEqual([USER + 2, 0x73]);
  });
  it.each([
    ['a hypercall', [...mov(R.eax, 0), 0xcd, 0x1f], 0xfa],
    ['a gate of ring 1', [0xcd, 0x30], 0x182],
    ['cli', [0xfa], 0],
    ['out', [0xe6, 0x80], 0],
  ])('is #GP for %s', async (_, code, error) => {
    const { notes } = await run(user(code, noteFrame(1), 13));
    expect(notes(1)).toEqual([error]);
  });
  it.each([
    ['that was never set', []],
    ['whose page is gone', call(7, 0x69, 0x1e_1000, 0)],
  ])('with a kernel stack %s kills', async (_, set) => {
    const spec = user(UD2, powerOff());
    const tail = userMode();
    const iret = tail.slice(-26);
    const segments = [...call(18, 14, 0xffff, 0x00cf_fb00), ...call(18, 15, 0xffff, 0x00cf_f300)];
    const code = [...spec.code.slice(0, spec.code.length - tail.length), ...segments, ...set, ...iret];
    const at = { ...spec.at, ...identity({ 1966080: 0 }), [USER]: UD2 };
    expect(await killedFor({ code, at })).toMatch(
      set.length ? /kernel stack is not there: 0x1e0ffc/ : /kernel stack segment, 0x0, is none/,
    );
  });
});

describe('INT n in ring 1', () => {
  it("asks the gate's DPL", async () => {
    const code = (dpl: number) => [...init(), ...gate(13, HANDLER), ...gate(3, HANDLER + 0x100, 0xe, dpl), 0xcc];
    const at = { [HANDLER]: noteFrame(1), [HANDLER + 0x100]: [...store(NOTES, 0x33), ...powerOff()] };
    expect((await run({ code: code(0), at })).notes(1)).toEqual([3 * 8 + 2]);
    expect((await run({ code: code(1), at })).notes(1)).toEqual([0x33]);
    expect((await run({ code: code(3), at })).notes(1)).toEqual([0x33]);
  });
  it('on a vector of devices is taken for one of theirs, and does nothing', async () => {
    const code = [...init(), ...gate(0x21, HANDLER, 0xe, 3), 0xcd, 0x21, ...powerOff()];
    expect((await run({ code, at: { [HANDLER]: UD2 } })).exit).toMatchObject(good);
  });
});

describe('port instructions', () => {
  const ports = (...code: number[]) =>
    run({ code: [...init(), ...mov(R.eax, 0x1122_3344), ...mov(R.edx, 0x3fd), ...code, ...powerOff()] });
  it.each([
    ['in al, dx', [0xec], 0x1122_33ff],
    ['in ax, dx', [0x66, 0xed], 0x1122_ffff],
    ['in eax, dx', [0xed], 0xffff_ffff],
    ['in al, 0x64', [0xe4, 0x64], 0x1122_3301],
    ['in al, 0x71', [0xe4, 0x71], 0x1122_33ff],
    ['in eax, 0x80', [0xe5, 0x80], 0xffff_ffff],
    ['out dx, al', [0xee], 0x1122_3344],
    ['out 0x80, ax', [0x66, 0xe7, 0x80], 0x1122_3344],
    ['cli', [0xfa], 0x1122_3344],
  ])('%s is played', async (_, code, eax) => {
    const { exit, notes } = await ports(...code, ...storeEax(NOTES));
    expect(exit).toMatchObject(good);
    expect(notes(1)).toEqual([eax]);
  });
  it.each([
    ['ins', [0x6c]],
    ['a repeated out', [...mov(R.ecx, 1), 0xf3, 0x6e]],
    ['in behind an address-size prefix', [0x67, 0xec]],
  ])('%s is not', async (_, code) => {
    expect((await ports(...code)).exit.detail).toMatch(/unhandled trap 13/);
  });
  it('across the end of the mapped code is not, and nobody is hurt', async () => {
    const code = [...init(), ...paged(), 0xe9, ...le32(0x18_0fff - (CODE + init().length + paged().length + 5))];
    const at = { ...identity({ 1576960: 0 }), 1576959: [0xe4] };
    expect(await killedFor({ code, at })).toMatch(/unhandled trap 14 at 0x180fff \(0x181000\)/);
  });
});

describe("memory that is not the guest's", () => {
  it.each([MEMORY, 0x8000_0000, TOP - 4])('kills a guest that reads it, at 0x%x', async (at) => {
    expect(await killedFor({ code: [...init(), ...loadEax(at)] })).toContain(
      `the guest reads physical 0x${at.toString(16)}`,
    );
  });
  it.each([MEMORY, TOP, 0xffff_fffc])('kills a guest that writes it, at 0x%x', async (at) => {
    expect(await killedFor({ code: [...init(), ...store(at, 1)] })).toContain(
      `the guest writes physical 0x${at.toString(16)}`,
    );
  });
  it('kills a guest whose page table leads there', async () => {
    const at = identity({ 1966080: ((MEMORY + 0xfff) & ~0xfff) | 7 });
    expect(await killedFor({ code: [...init(), ...paged(), ...loadEax(0x1e_0010)], at })).toContain(
      'reads physical 0x210010',
    );
  });
  it("shows the host's descriptors to whoever looks, and nothing behind them", async () => {
    const look = (offset: number, to: number) => [...loadEax(TOP + offset), ...storeEax(NOTES + to)];
    const code = [
      ...init(),
      ...look(0x60, 0),
      ...look(0x64, 4),
      ...look(0xf8, 8),
      ...look(0x100, 12),
      ...look(0x3f_fffc, 16),
      ...powerOff(),
    ];
    expect((await run({ code })).notes(5)).toEqual([0xffff, 0x00cf_bb00, 0, 0, 0]);
  });
  it('is read-only where the host is mapped', async () => {
    const code = [...init(), ...paged(), ...gate(14, HANDLER), ...store(TOP + 0x60, 1)];
    const { notes, data } = await run({ code, at: { ...identity(), [HANDLER]: noteFrame(1) } });
    expect(notes(1)).toEqual([3]);
    expect(data.cr2).toBe(TOP + 0x60);
  });
});

describe('the top of the page directory', () => {
  const reload = [...mov(R.eax, 0x69), 0x8e, 0xd8];
  it('comes back to a guest that clears it', async () => {
    const code = [...init(), ...paged(), ...store(DIRECTORY + 4092, 0), ...call(5, 1), ...reload, ...powerOff()];
    const { exit, machine } = await run({ code, at: identity() });
    expect(exit).toMatchObject(good);
    expect(machine.memory.readU32(DIRECTORY + 4092)).toBe(TOP + 0xa1);
  });
  it('kills a guest that puts its own pages there', async () => {
    const code = [...init(), ...paged(), ...store(DIRECTORY + 4092, TABLE | 7), ...call(5, 1)];
    expect(await killedFor({ code, at: identity() })).toMatch(/maps its own pages at 0xffc00000/);
  });
  it('kills a guest that finds its way to ring 0 with descriptors of its own', async () => {
    // The last directory entry leads to a page with a GDT of the guest's: entry 20 is code of ring 0, entry 21 a call gate.
    const fakeTable = 0x1c_0000;
    const fakeGdt = 0x1c_1000;
    const descriptors = [
      ...le32(0xffff),
      ...le32(0x00cf_9b00),
      ...le32((0xa0 << 16) | (HANDLER & 0xffff)),
      ...le32((HANDLER & 0xffff_0000) | 0xec00),
    ];
    const code = [
      ...init(),
      ...paged(),
      ...call(5, 1), // from here on no visit to the host
      ...store(DIRECTORY + 4092, fakeTable | 7),
      0x9a,
      ...le32(0),
      0xa8 | 1,
      0, // lcall through the gate
    ];
    const at = {
      ...identity(),
      [fakeTable]: le32(fakeGdt | 7),
      [fakeGdt + 0xa0]: descriptors,
      [HANDLER]: [...call(0), ...HLT_LOOP],
    };
    const { exit } = await run({ code, at });
    expect(exit.kind).toMatch(/killed|fault-loop/);
    expect(exit.code).toBe(4);
  });
});

describe('segments of the handlers', () => {
  const broken = (low: number, high: number) => ({
    code: [...init(), ...gate(6, HANDLER), ...call(18, 12, low, high), ...UD2],
    at: { [HANDLER]: powerOff() },
  });
  it.each([
    ['absent', 0, 0],
    ['of data', 0xffff, 0x00cf_9300],
    ['of ring 3', 0xffff, 0x00cf_fb00],
  ])('that are %s kill at the first trap', async (_, low, high) => {
    expect(await killedFor(broken(low, high))).toMatch(
      /code segment for its handlers, 0x61, is none for ring 1 \(lguest: unhandled trap 256\)/,
    );
  });
});
