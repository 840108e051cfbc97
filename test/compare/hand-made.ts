/** Records made by hand: small runs in which every value is chosen by the test. */
import type { EventRun, FunctionRun, RunRecord, StateRecord, Waypoint } from '../../src/trace/run-record.ts';
import { RECORD_SCHEMA } from '../../src/trace/run-record.ts';

export function stateOf(changes: Partial<StateRecord> = {}): StateRecord {
  return {
    cpl: 0,
    mode: '64-bit',
    registers: { rax: '0x0', rsp: '0xffffffff81200fd8', rip: '0xffffffff81001000', rflags: '0x2' },
    control: { cr0: '0x80050033', cr2: '0x0', cr3: '0x1034000', cr4: '0x6b0', cr8: '0x0', efer: '0xd01' },
    msrs: { GS_BASE: '0xffffffff81204000', FS_BASE: '0x0', PAT: '0x7040600070406' },
    segments: { cs: '0x10: base 0x0, limit 0xffffffff, attributes 0xa09b', ss: '0x18: base 0x0, limit 0xffffffff' },
    tables: { gdtr: '0xffffffff81205000, limit 0x7f', idtr: '0xffffffff81206000, limit 0xfff', gdt: {}, idt: {} },
    paging: { kind: '4-level', root: '0x1034000', mapped: [] },
    objects: [],
    ...changes,
  };
}

export const functionRun = (name: string, first: number, changes: Partial<FunctionRun> = {}): FunctionRun => ({
  name,
  address: `0x${(0xffffffff81000000n + BigInt(first) * 16n).toString(16)}`,
  first,
  caller: undefined,
  count: 1,
  counts: [],
  ...changes,
});

export const eventRun = (kind: string, at: number, number: number, what: string, changes: Partial<EventRun> = {}): EventRun => ({
  kind, at, number, what, rip: '0xffffffff81000123', where: undefined, values: [], ...changes,
}); // biome-ignore format: one line

export const waypoint = (name: string, at: number, state: Partial<StateRecord> = {}): Waypoint => ({
  name,
  at,
  ns: at,
  state: stateOf(state),
});

export function recordOf(via: string, changes: Partial<RunRecord> = {}): RunRecord {
  return {
    schema: RECORD_SCHEMA,
    via,
    kernel: { name: 'tiny', version: '1.0', sha256: 'ab'.repeat(32), symbols: 'symtab' },
    input: { cmdline: 'console=ttyS0', memory: 1 << 28, initrdBytes: 0 },
    bootParamsFilledBy: via === 'linux64' ? 'loader' : 'guest',
    exit: { reason: 'verdict', code: 0, detail: 'verdict: success' },
    instructions: 10_000,
    virtualTimeNs: 10_000,
    waypoints: [waypoint('entry', 0), waypoint('start_kernel', 1000), waypoint('end', 10_000)],
    functions: [functionRun('start_kernel', 1000, { caller: 'x86_64_start_reservations+0x30' })],
    events: [],
    eventsDropped: 0,
    console: '',
    ...changes,
  };
}
