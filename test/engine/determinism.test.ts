/** One guest, one run: however the host cuts it, in whichever form it runs, and however often.
 *
 * The built-in guest goes through every path, and small guests made for the purpose raise interrupts, repeat strings and
 * change their own code all the time. Everything that a report tells (the exit, counts, virtual time, registers, the
 * state hash, the console) must be the same in every run. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { imagePath } from '../../src/cli/guests.ts';
import { flatImage } from '../../src/image/parse.ts';
import { Machine, parseKernel, planBoot } from '../../src/index.ts';
import type { MachineOptions } from '../../src/machine/machine.ts';
import { initrd } from '../guests/golden.ts';
import { hex } from './traps/bench.ts';

/** The timer ticks every 1676 ns; the handler sums up where and with which flags it found the guest, and when. */
const INTERRUPTS = hex(
  '48 8d 05 9b 00 00 00', // lea rax, [rip+9f]
  'bf 00 02 20 00', // mov edi, 0x200200
  '66 89 07', // mov [rdi], ax
  'c7 47 02 10 00 00 8e', // mov dword ptr [rdi+2], 0x8e000010
  '66 c7 47 02 10 00', // mov word ptr [rdi+2], 0x10
  '66 c7 47 04 00 8e', // mov word ptr [rdi+4], 0x8e00
  '48 c1 e8 10', // shr rax, 16
  '66 89 47 06', // mov [rdi+6], ax
  '48 83 ec 10', // sub rsp, 16
  '66 c7 04 24 ff 0f', // mov word ptr [rsp], 0xfff
  '48 c7 44 24 02 00 00 20 00', // mov qword ptr [rsp+2], 0x200000
  '0f 01 1c 24', // lidt [rsp]
  'b0 11', // mov al, 0x11
  'e6 20', // out 0x20, al
  'b0 20', // mov al, 0x20
  'e6 21', // out 0x21, al
  'b0 04', // mov al, 4
  'e6 21', // out 0x21, al
  'b0 01', // mov al, 1
  'e6 21', // out 0x21, al
  'b0 fe', // mov al, 0xfe
  'e6 21', // out 0x21, al
  'b0 34', // mov al, 0x34
  'e6 43', // out 0x43, al
  'b0 02', // mov al, 2
  'e6 40', // out 0x40, al
  'b0 00', // mov al, 0
  'e6 40', // out 0x40, al
  'fb', // sti
  '48 ff c1', // 1: inc rcx
  '48 69 d1 b1 79 37 1e', // imul rdx, rcx, 0x1e3779b1
  '48 31 d3', // xor rbx, rdx
  'f6 c1 3f', // test cl, 0x3f
  '75 05', // jnz 2f
  'fa', // cli
  '49 01 d9', // add r9, rbx
  'fb', // sti
  'f7 c1 ff 07 00 00', // 2: test ecx, 0x7ff
  '75 01', // jnz 3f
  'f4', // hlt
  '89 ce', // 3: mov esi, ecx
  '81 e6 ff 00 00 00', // and esi, 0xff
  '48 89 1c f5 00 00 21 00', // mov [rsi*8+0x210000], rbx
  '4c 03 2c f5 08 00 21 00', // add r13, [rsi*8+0x210008]
  '49 83 f8 28', // cmp r8, 40
  '72 c2', // jb 1b
  'fa', // cli
  'f4', // hlt
  '50', // 9: push rax
  '52', // push rdx
  '49 ff c0', // inc r8
  '0f 31', // rdtsc
  '49 31 c2', // xor r10, rax
  '4c 03 5c 24 10', // add r11, [rsp+16]
  '4c 03 64 24 20', // add r12, [rsp+32]
  'b0 20', // mov al, 0x20
  'e6 20', // out 0x20, al
  '5a', // pop rdx
  '58', // pop rax
  '48 cf', // iretq
);

/** Lengths, places and directions from a generator; ranges overlap in every way. */
const STRINGS = hex(
  'bb 39 30 00 00', // mov ebx, 12345
  'bd 96 00 00 00', // mov ebp, 150
  '69 db 6d 4e c6 41', // 1: imul ebx, ebx, 1103515245
  '81 c3 39 30 00 00', // add ebx, 12345
  '89 de', // mov esi, ebx
  '81 e6 ff 1f 00 00', // and esi, 0x1fff
  '81 c6 00 00 20 00', // add esi, 0x200000
  '89 df', // mov edi, ebx
  'c1 ef 07', // shr edi, 7
  '81 e7 ff 1f 00 00', // and edi, 0x1fff
  '81 c7 00 00 20 00', // add edi, 0x200000
  '89 da', // mov edx, ebx
  'c1 ea 14', // shr edx, 20
  '81 e2 ff 00 00 00', // and edx, 0xff
  '89 d8', // mov eax, ebx
  '0f ba e3 03', // bt ebx, 3
  '72 01', // jc 2f
  'fd', // std
  '89 d1', // 2: mov ecx, edx
  'f3 a4', // rep movsb
  '89 d1', // mov ecx, edx
  'f3 ab', // rep stosd
  '89 d1', // mov ecx, edx
  'f3 a6', // repe cmpsb
  '49 11 c8', // adc r8, rcx
  '89 d1', // mov ecx, edx
  'f2 ae', // repne scasb
  '49 11 c8', // adc r8, rcx
  '89 d1', // mov ecx, edx
  'f3 48 a5', // rep movsq
  'fc', // cld
  'ff cd', // dec ebp
  '75 a1', // jnz 1b
  'fa', // cli
  'f4', // hlt
);

/** Writes immediates and opcodes of the code that follows, and copies a function before each call of it. */
const CHANGES = hex(
  'b9 b0 04 00 00', // mov ecx, 1200
  '89 c8', // 1: mov eax, ecx
  'a2 0f 00 10 00', // mov byte ptr [2f+1], al
  '01 db', // add ebx, ebx
  '04 11', // 2: add al, 0x11
  '01 c3', // add ebx, eax
  'be 47 00 10 00', // mov esi, offset 9f
  'bf 00 00 20 00', // mov edi, 0x200000
  '89 cd', // mov ebp, ecx
  'b9 05 00 00 00', // mov ecx, 5
  'f3 a4', // rep movsb
  '89 e9', // mov ecx, ebp
  '88 0d 01 00 20 00', // mov [0x200001], cl
  'ba 00 00 20 00', // mov edx, 0x200000
  'ff d2', // call edx
  'f6 c1 07', // test cl, 7
  '75 07', // jnz 3f
  '80 35 41 00 10 00 08', // xor byte ptr [4f], 8
  '90', // 3: nop
  '43', // 4: inc ebx
  '49', // dec ecx
  '75 c0', // jnz 1b
  'fa', // cli
  'f4', // hlt
  'b2 05', // 9: mov dl, 5
  '01 d3', // add ebx, edx
  'c3', // ret
);

/** Divides by zero, runs undefined code, loads bad selectors and steps itself; handlers sum up where and with which
 * flags. */
const FAULTS = hex(
  'b8 80 00 10 00', // mov eax, offset 5f
  'bf 00 00 20 00', // mov edi, 0x200000
  'e8 93 00 00 00', // call 8f
  'b8 89 00 10 00', // mov eax, offset 6f
  'bf 30 00 20 00', // mov edi, 0x200030
  'e8 84 00 00 00', // call 8f
  'b8 92 00 10 00', // mov eax, offset 7f
  'bf 68 00 20 00', // mov edi, 0x200068
  'e8 75 00 00 00', // call 8f
  'b8 78 00 10 00', // mov eax, offset 4f
  'bf 08 00 20 00', // mov edi, 0x200008
  'e8 66 00 00 00', // call 8f
  '68 00 00 20 00', // push 0x200000
  '66 68 ff 07', // pushw 0x7ff
  '0f 01 1c 24', // lidt [esp]
  'bd bc 02 00 00', // mov ebp, 700
  '29 e8', // 1: sub eax, ebp
  '31 d2', // xor edx, edx
  'f7 f1', // .byte 0xf7, 0xf1
  '39 d8', // cmp eax, ebx
  '0f 0b', // ud2
  '6b c0 4d', // imul eax, eax, 77
  '8e d8', // .byte 0x8e, 0xd8
  '9c', // pushfd
  '81 0c 24 00 01 00 00', // or dword ptr [esp], 0x100
  '9d', // popfd
  '01 c3', // add ebx, eax
  '31 d2', // xor edx, edx
  '9c', // pushfd
  '81 24 24 ff fe ff ff', // and dword ptr [esp], 0xfffffeff
  '9d', // popfd
  '4d', // dec ebp
  '75 d8', // jnz 1b
  'fa', // cli
  'f4', // hlt
  '03 3c 24', // 4: add edi, [esp]
  '33 74 24 08', // xor esi, [esp+8]
  'cf', // iretd
  '03 74 24 08', // 5: add esi, [esp+8]
  '83 04 24 02', // add dword ptr [esp], 2
  'cf', // iretd
  '33 7c 24 08', // 6: xor edi, [esp+8]
  '83 04 24 02', // add dword ptr [esp], 2
  'cf', // iretd
  '83 c4 04', // 7: add esp, 4
  '03 7c 24 08', // add edi, [esp+8]
  '66 b8 18 00', // mov ax, 0x18
  '83 04 24 02', // add dword ptr [esp], 2
  'cf', // iretd
  '66 89 07', // 8: mov [edi], ax
  '66 c7 47 02 10 00', // mov word ptr [edi+2], 0x10
  '66 c7 47 04 00 8e', // mov word ptr [edi+4], 0x8e00
  'c1 e8 10', // shr eax, 16
  '66 89 47 06', // mov [edi+6], ax
  'c3', // ret
);

type Cut = { name: string; options: MachineOptions; slow?: boolean };
/** `quantum` bounds a go of the machine's loop, `cpuQuantum` one of generated code. */
const CUTS: readonly Cut[] = [
  { name: 'again', options: {} },
  { name: 'one instruction at a time', options: { plain: true }, slow: true },
  { name: 'in grants of 1', options: { cpuQuantum: 1 }, slow: true },
  { name: 'in grants of 7', options: { cpuQuantum: 7 }, slow: true },
  { name: 'in grants of 1000', options: { cpuQuantum: 1000 } },
  { name: 'in goes of 1', options: { quantum: 1 }, slow: true },
  { name: 'in goes of 1000', options: { quantum: 1000 } },
  { name: 'in goes of 1e6', options: { quantum: 1e6 } },
];

const run = (machine: Machine, limit: number) => {
  const exit = machine.runSync({ maxInstructions: limit });
  return { exit, ...machine.outcome() };
};

describe('the built-in guest', () => {
  const paths = [
    ['linux64', 'tiny64.bzimage'],
    ['linux32', 'tiny64.bzimage'],
    ['pvh', 'tiny64.elf'],
    ['linux32', 'tiny32.bzimage'],
    ['multiboot', 'tiny32.elf'],
  ] as const;
  describe.each(paths)('through %s (%s)', (via, file) => {
    const machine = (options: MachineOptions) => {
      const image = parseKernel(file, new Uint8Array(readFileSync(imagePath(file))));
      return Machine.create(
        planBoot(image, { via, memory: '32M', cmdline: 'console=ttyS0', initrd: initrd() }),
        options,
      );
    };
    it('gives the same report and the same hash in every form', async () => {
      const first = run(await machine({}), 1e8);
      expect(first.exit.code).toBe(0);
      expect(first.console).toMatch(/verdict: success/);
      // The slowest forms run the beginning only: enough for the entry, the tables and some of the unpacker.
      const start = run(await machine({}), 60_000);
      for (const { name, options, slow } of CUTS) {
        const report = run(await machine(options), slow ? 60_000 : 1e8);
        expect({ name, ...report }).toEqual({ name, ...(slow ? start : first) });
      }
    });
  });
  it('gives the same end one at a time, from its first instruction to its last', async () => {
    const image = parseKernel('tiny32.elf', new Uint8Array(readFileSync(imagePath('tiny32.elf'))));
    const machine = (options: MachineOptions) =>
      Machine.create(planBoot(image, { via: 'multiboot', memory: '32M' }), options);
    const first = run(await machine({}), 1e8);
    expect(first.exit.code).toBe(0);
    for (const options of [{ plain: true }, { cpuQuantum: 3 }, { quantum: 5 }]) {
      expect(run(await machine(options), 1e8)).toEqual(first);
    }
  });
});

const guests: [string, 'flat32' | 'flat64', number[]][] = [
  ['full of interrupts', 'flat64', INTERRUPTS],
  ['full of repeated strings', 'flat64', STRINGS],
  ['that changes its own code', 'flat32', CHANGES],
  ['that faults and divides by zero', 'flat32', FAULTS],
];

describe.each(guests)('a guest %s', (_name, via, code) => {
  it('gives the same report and the same hash in every form', async () => {
    const machine = (options: MachineOptions) =>
      Machine.create(planBoot(flatImage('code', Uint8Array.from(code)), { via, memory: '4M' }), options);
    const first = run(await machine({}), 1e6);
    expect(first.exit).toMatchObject({ kind: 'halted', code: 0 });
    expect(first.instructions).toBeGreaterThan(20_000);
    for (const { name, options } of CUTS) {
      expect({ name, ...run(await machine(options), 1e6) }).toEqual({ name, ...first });
    }
    for (const limit of [1, 99, 1234, 5001, 12_345]) {
      const whole = run(await machine({}), limit);
      expect(whole.instructions).toBe(limit);
      expect(run(await machine({ plain: true }), limit)).toEqual(whole);
      expect(run(await machine({ cpuQuantum: 7 }), limit)).toEqual(whole);
    }
  });
});
