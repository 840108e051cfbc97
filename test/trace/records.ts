/** A record by hand: a guest that writes CR4, takes a fault and sleeps before its second waypoint. */
import type { TraceExtras } from '../../src/trace/formats/timeline.ts';
import type { RunRecord, StateRecord } from '../../src/trace/run-record.ts';

const state: StateRecord = {
  cpl: 0,
  mode: '64-bit',
  registers: { rip: '0xffffffff81000000' },
  control: { cr0: '0x80050033', cr3: '0x1000', cr4: '0x20' },
  msrs: {},
  segments: {},
  tables: { gdtr: '0x0', idtr: '0x0', gdt: {}, idt: {} },
  paging: { kind: '4-level', root: '0x1000', mapped: [] },
  objects: [],
};

export const RECORD: RunRecord = {
  schema: 1,
  via: 'xen-pv',
  kernel: { name: 'dir/tiny 64.elf', version: undefined, sha256: 'ab'.repeat(32), symbols: 'symtab' },
  input: { cmdline: 'a "quoted" word', memory: 1 << 28, initrdBytes: 0 },
  bootParamsFilledBy: 'guest',
  exit: { reason: 'power-off', code: 0, detail: 'well' },
  instructions: 3000,
  virtualTimeNs: 1_003_000,
  waypoints: [
    { name: 'entry', at: 0, ns: 0, state },
    { name: 'start_kernel', at: 1500, ns: 1500, state },
    { name: 'rest_init', at: 2500, ns: 1_002_500, state },
    { name: 'end', at: 3000, ns: 1_003_000, state },
  ],
  functions: [
    run('startup_64', '0xffffffff81000000', 0, undefined, 1),
    run('init_once', '0xffffffff81002000', 700, 'startup_64+0x15', 3),
    run('start_kernel', '0xffffffff81003000', 1500, 'startup_64+0x60', 1),
    run('vsyscall_page', '0xffffffffff600000', 2600, undefined, 2),
  ],
  events: [
    event('cr-write', 10, 4, 'CR4', ['0x20'], 'startup_64+0x9'),
    event('exception', 800, 14, '#PF', ['0x2', '0x1234'], undefined),
    event('hypercall', 2700, 1, 'mmu_update', ['0x1', '0x2'], 'xen_flush+0x3'),
  ],
  eventsDropped: 2,
  console: 'hello\nover\n',
};

export const EXTRAS: TraceExtras = {
  functions: [
    { name: 'startup_64', address: 0xffffffff81000000n, size: 0x80 },
    { name: 'init_once', address: 0xffffffff81001000n, size: 0x10 },
    { name: 'init_once', address: 0xffffffff81002000n },
    { name: 'start_kernel', address: 0xffffffff81003000n, size: 0x1_2000 },
    { name: 'panic', address: 0xffffffff81100000n },
    { name: 'vsyscall_page', address: 0xffffffffff600000n, size: 8 },
  ],
  consoleLines: [
    { at: 900, text: 'hello' },
    { at: 2900, text: 'over\x1b[0m "é"' },
  ],
};

function run(name: string, address: string, first: number, caller: string | undefined, count: number) {
  return { name, address, first, caller, count, counts: [0, count] };
}

function event(kind: string, at: number, number: number, what: string, values: string[], where: string | undefined) {
  return { kind, at, rip: '0xffffffff81000009', where, number, what, values };
}
