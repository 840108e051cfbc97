/** Cpu: one x86-64 processor. The state, the core, and the loop between them.
 *
 * `run` hands blocks to the generated code in quanta and does what that code cannot: it finds and decodes blocks, runs
 * the instructions that are TypeScript's, delivers faults and interrupts, and stops at exact instruction counts. Where
 * fewer instructions are left than a block has, and under single-step and breakpoints, instructions run one at a time
 * (the plain form); the guest cannot tell.
 * May not: know a device; everything outside is behind CpuHost.   Next: machine/machine.ts. */

import { assert } from '../base/errors.ts';
import { anything, bytes, flag, float64s, maybe, real, record, type Saved, whole, wide } from '../base/saved.ts';
import type { FunctionMap } from '../trace/function-map.ts';
import type { TraceRecorder } from '../trace/recorder.ts';
import { createMemory, instantiate } from '../wasm/runtime.ts';
import { RFLAGS, VECTOR } from '../x86/constants.ts';
import type { CpuModel } from '../x86/cpuid.ts';
import type { VcpuState } from '../x86/vcpu-state.ts';
import { MemoryAccess } from './access.ts';
import { Blocks, type HelperRecord, STEP } from './blocks.ts';
import { CodeFetch } from './code-fetch.ts';
import {
  type Access,
  type CallHooks,
  type CpuHost,
  GuestFault,
  type HelperInsn,
  type TrapAnswer,
  type TrapHooks,
  Unbuilt,
} from './core.ts';
import { coreBytes } from './core-bytes.ts';
import { CpuState } from './cpu-state.ts';
import { EventTracer, EVENT_HELPERS as TRACED } from './event-tracer.ts';
import { FaultLog, type RaisedFault } from './fault-log.ts';
import { highHalf, lowHalf } from './halves.ts';
import { CurrentInsn, HELPERS } from './helper-insn.ts';
import { AGAIN, BREAKPOINT_HITS, Mmu } from './mmu.ts';
import { MODE, modeWord } from './mode.ts';
import { pagingFeatures } from './page-walk.ts';
import { QuickGates } from './quick-gates.ts';
import { QUICK, QuickHelpers } from './quick-helpers.ts';
import { ASK, BLOCK, LEAVE, REC, STATUS } from './record.ts';
import { evaluate } from './reference.ts';
import { returnAddress } from './return-address.ts';
import {
  COUNTER_SLOTS,
  COUNTERS,
  FETCH_TLB_SUPERVISOR,
  FETCH_TLB_USER,
  RAM,
  SHADOW,
  STATE,
  TLB_SUPERVISOR,
  TLB_USER,
  TRAIL,
  TRAIL_ENTRIES,
  TRAIL_INDEX,
} from './state.ts';
import { deliverException, deliverInterrupt } from './system/exceptions.ts';
import { resetFpu } from './system/fpu-state.ts';
import { ioHelpers } from './system/io.ts';
import type { SystemCore } from './system/system-core.ts';

/** Instructions per call into generated code: long enough to forget the call, short enough for the host's optimising
 * compiler to take over early. */
export const QUANTUM = 1_000_000;

export type CpuExit =
  /** The asked-for count was reached. */
  | { kind: 'budget' }
  /** HLT completed; an interrupt is awaited (RFLAGS.IF may be clear). */
  | { kind: 'halt' }
  /** A port was touched: device events may have moved. */
  | { kind: 'event' }
  /** An address given to setBreakpoints is next. */
  | { kind: 'breakpoint'; at: bigint }
  | { kind: 'triple-fault' }
  | { kind: 'fault-loop' }
  | { kind: 'unbuilt'; what: string; table: string };

export type CpuOptions = {
  /** Bytes, a multiple of 64 KiB, at most 3 GiB. */
  ramSize: number;
  cpuModel: CpuModel;
  host: CpuHost;
  /** One instruction at a time, always: the form every optimisation is held against. */
  plain?: boolean;
  /** Every meaning evaluated over bigint (engine/reference.ts): what the generated code is held against. */
  reference?: boolean;
  /** Instructions per call into generated code; what it is cannot be seen by the guest. */
  quantum?: number;
};

/** How a helper ends its turn, beyond its effect. */
const EVENT_HELPERS = new Set(['in', 'out', 'ins', 'outs', 'vmcall', 'vmmcall']);

export class Cpu implements SystemCore {
  readonly buffer: ArrayBuffer;
  readonly ramOffset = RAM;
  readonly ramSize: number;
  readonly host: CpuHost;
  readonly model: CpuModel;
  readonly state: CpuState;
  /** Virtual nanoseconds that were skipped while halted. */
  idleNs = 0;
  /** MSRs that do not exist, with how often each was touched. */
  readonly unknownMsrs = new Map<number, number>();

  readonly #view: DataView;
  readonly #mmu: Mmu;
  readonly #access: MemoryAccess;
  readonly #blocks: Blocks;
  readonly #exports: { run32(block: number): number; run64(block: number): number; lookup(): number };
  readonly #faults: FaultLog;
  #tracer: TraceRecorder | undefined;
  #events: EventTracer | undefined;
  readonly #fetch: CodeFetch;
  readonly #insn: CurrentInsn;
  readonly #gates: QuickGates;
  readonly #quick: QuickHelpers;
  readonly #plain: boolean;
  readonly #quantum: number;
  #done = 0;
  #grant = 0;
  #inCode = false;
  #halted = false;
  #debugging = false;
  /** The next instruction is to run alone: fewer are left than its block has, or it asked for it (mustRunAlone). */
  #tail = false;
  /** In `#single`: the block in code is one instruction. */
  #alone = false;
  /** A write reached code of the running block. */
  #selfModified = false;
  /** Memory of a device was accessed since the loop's head. */
  #touchedDevice = false;
  #breakpoints = new Set<bigint>();
  /** The breakpoint that `run` last stopped at: it is passed without stopping again. */
  #passing: bigint | undefined;

  static create(options: CpuOptions): Cpu {
    return new Cpu(options);
  }

  constructor({ ramSize, cpuModel, host, plain = false, reference = false, quantum = QUANTUM }: CpuOptions) {
    const pages = Math.ceil((RAM + ramSize) / 65536);
    const memory = createMemory(pages);
    this.buffer = memory.buffer;
    this.ramSize = ramSize;
    this.host = host;
    this.model = cpuModel;
    this.#plain = plain;
    this.#quantum = quantum;
    this.state = new CpuState(this.buffer);
    this.#view = this.state.view;
    this.#mmu = new Mmu(this, this.buffer, pagingFeatures(cpuModel));
    this.#access = new MemoryAccess(this.state, this.#mmu);
    this.#blocks = new Blocks(
      this.buffer,
      ramSize,
      (feature) => cpuModel.features.has(feature),
      (page) => this.#mmu.dropWriteTags(page),
      reference,
    );
    this.#blocks.clear();
    this.#faults = new FaultLog(this.#view);
    this.#fetch = new CodeFetch(this.state, this.#mmu, this.#blocks, ramSize);
    this.#insn = new CurrentInsn(this.state);
    this.#gates = new QuickGates(this.state, this.buffer, () => this.modeChanged());
    const hasTsc = cpuModel.features.has('TSC');
    this.#quick = new QuickHelpers(this.buffer, this.#mmu, this.#gates, () => this.now, hasTsc);
    const imports = {
      cpu: {
        memory,
        miss: (low: number, high: number, kind: number) => this.#mmu.slow(low, high, kind),
        commit: () => this.#mmu.commit(),
        segment: (record: number) => this.#segmentStep(record),
        helper: (record: number) => this.#askHelper(record),
        fault: (record: number) => this.#askFault(record),
        entered: (record: number) => this.#entered(record),
        port: (port: number, size: 1 | 2 | 4, out: number) => this.#port(port, size, out !== 0),
        pending: () => (this.host.interruptPending() ? 1 : 0),
      },
    };
    const instance = instantiate(coreBytes(), imports);
    this.#exports = instance.exports as never;
    this.#reset();
  }

  #reset(): void {
    this.state.rflags = 2;
    this.state.set64('PAT', 0x0007_0406_0007_0406n);
    this.state.setDr(6, 0xffff_0ff0n);
    this.state.setDr(7, 0x400n);
    resetFpu(this.state);
    this.modeChanged();
  }

  // ---- What the machine sees

  vcpuState(): VcpuState {
    return this.state.read();
  }

  setState(state: Partial<VcpuState>): void {
    this.state.write(state);
    this.#mmu.flushTlb();
    if (state.cr3 !== undefined || state.cr0 !== undefined)
      this.#mmu.loadPdptes(Number(this.state.get64('CR3') & 0xffff_ffffn));
    this.#halted = false;
    this.#faults.inRow = 0;
    this.modeChanged();
  }

  get instructions(): number {
    if (!this.#inCode) return this.#done;
    const current = this.#view.getInt32(STATE.CURRENT, true);
    const left = this.#view.getInt32(STATE.LEFT, true);
    return this.#done + this.#grant - left - this.#view.getUint8(current + REC.REMAINING);
  }

  get now(): number {
    return this.instructions + this.idleNs;
  }

  get halted(): boolean {
    return this.#halted;
  }

  /** It goes on. */
  wake(): void {
    this.#halted = false;
  }

  /** The guest waits, as after HLT: what a hypervisor's blocking call does. */
  halt(): void {
    this.#halted = true;
  }

  /** What is told of the run: the first entry of each function of its map, and events if it wants them. To be set before
   * the first instruction. Nothing that a guest can see depends on it. */
  get tracer(): TraceRecorder | undefined {
    return this.#tracer;
  }
  set tracer(tracer: TraceRecorder | undefined) {
    this.#tracer = tracer;
    const functions = tracer?.functions;
    assert((functions?.count ?? 0) <= COUNTER_SLOTS, 'every traced function has a counter');
    const counters = new Int32Array(this.buffer, COUNTERS, COUNTER_SLOTS);
    counters.fill(0);
    this.#fetch.onPage = functions && ((low, high, page) => this.#learnStarts(functions, low, high, page));
    if (tracer) tracer.readCounts = () => counters.slice(0, functions?.count ?? 0);
    this.#events = tracer?.wantsEvents ? new EventTracer(this, tracer) : undefined;
    this.#mmu.flushTlb();
    this.#blocks.forgetStarts();
    this.#learnt.clear();
  }

  /** By page of RAM: the linear page that it was last known under. */
  readonly #learnt = new Map<number, number>();

  /** A page of code is about to run under this linear address: functions that begin there get their counters. */
  #learnStarts(functions: FunctionMap, low: number, high: number, page: number): void {
    const place = (high >>> 0) * 0x10_0000 + (low >>> 12);
    if (this.#learnt.get(page) === place) return;
    const linear = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
    const { bytes } = this.state;
    const codeAt = (offset: number, length: number) =>
      bytes.subarray(RAM + page + offset, RAM + page + Math.min(4096, offset + length));
    const starts = functions.startsIn(linear, codeAt);
    if (starts) this.#blocks.setStarts(page, starts);
    // At physical addresses it depends on what lies there now.
    if (functions.isCertain(linear)) this.#learnt.set(page, place);
    else this.#learnt.delete(page);
  }

  /** Generated code meets a traced function for the first time. */
  #entered(record: number): void {
    const slot = (this.#view.getInt32(record + REC.EXTRA, true) - COUNTERS) >> 2;
    this.#tracer?.entered(slot, this.instructions, returnAddress(this.state, this.ramSize));
  }

  /** The hypervisor behind the guest, if there is one; set before the first instruction. */
  hooks: TrapHooks | undefined;
  /** The hypervisor that the guest calls, likewise. */
  calls: CallHooks | undefined;

  setBreakpoints(addresses: Iterable<bigint>): void {
    this.#breakpoints = new Set([...addresses].map((a) => BigInt.asUintN(64, a)));
    this.#blocks.setStops(new Set([...this.#breakpoints].map((a) => Number(a & 0xfffn))));
  }

  /** Blocks decoded since the CPU was made, and TypeScript instructions remembered now. */
  get decoding(): { blocks: number; helpers: number } {
    return this.#blocks.statistics;
  }

  /** A bit for each frame of RAM that the guest has accessed. */
  get touchedFrames(): Uint32Array {
    return this.#mmu.touchedFrames;
  }

  /** RIPs that control went to by a computed jump or across pages, newest last. */
  recentBlocks(count: number): bigint[] {
    const index = this.#view.getInt32(TRAIL_INDEX, true) >>> 0;
    const n = Math.min(count, index, TRAIL_ENTRIES);
    return Array.from({ length: n }, (_, i) =>
      this.#view.getBigUint64(TRAIL + ((index - n + i) % TRAIL_ENTRIES) * 8, true),
    );
  }

  /** The architectural registers as 32-bit words, the same for every engine and quantum: what state hashes are made of. */
  registerWords(): Int32Array {
    const { words } = this.state;
    const system = words.subarray(STATE.GDTR_BASE >> 2, (STATE.TSC_AUX + 8) >> 2);
    const fpu = words.subarray(STATE.FXSAVE >> 2, (STATE.FXSAVE + 512) >> 2);
    const out = new Int32Array(36 + system.length + fpu.length);
    out.set(words.subarray(STATE.GPR >> 2, (STATE.GPR >> 2) + 32));
    out[32] = words[STATE.RIP >> 2];
    out[33] = words[(STATE.RIP >> 2) + 1];
    out[34] = this.state.rflags;
    out[35] = this.state.cpl;
    out.set(system, 36);
    out.set(fpu, 36 + system.length);
    return out;
  }

  // ---- Snapshots: between instructions, so nothing is in generated code

  save(): Saved {
    return {
      ramSize: this.ramSize,
      done: this.#done,
      idleNs: this.idleNs,
      halted: this.#halted,
      tail: this.#tail,
      touchedDevice: this.#touchedDevice,
      passing: this.#passing,
      unknownMsrs: Float64Array.from([...this.unknownMsrs].flat()),
      faults: this.#faults.save(),
      state: this.state.bytes.subarray(0, TLB_SUPERVISOR),
      mmu: this.#mmu.save(),
      code: this.#blocks.save(),
    };
  }

  /** Into a CPU that has not run. What is worked out from other things (blocks, masks, the mode word) is made anew. */
  restore(saved: Saved, where: string): void {
    const state = record({
      ramSize: whole(this.ramSize, this.ramSize),
      done: whole(),
      idleNs: real,
      halted: flag,
      tail: flag,
      touchedDevice: flag,
      passing: maybe(wide),
      unknownMsrs: float64s(),
      faults: anything,
      state: bytes(TLB_SUPERVISOR),
      mmu: anything,
      code: anything,
    })(saved, where);
    this.#done = state.done;
    this.idleNs = state.idleNs;
    this.#halted = state.halted;
    this.#tail = state.tail;
    this.#touchedDevice = state.touchedDevice;
    this.#passing = state.passing;
    this.unknownMsrs.clear();
    const msrs = state.unknownMsrs;
    for (let i = 0; i + 1 < msrs.length; i += 2) this.unknownMsrs.set(msrs[i], msrs[i + 1]);
    this.#faults.restore(state.faults, `${where}.faults`);
    this.state.bytes.set(state.state);
    this.#view.setBigUint64(STATE.ZERO, 0n, true);
    this.state.cpl &= 3;
    this.#mmu.restore(state.mmu, `${where}.mmu`, true);
    this.modeChanged();
    this.#blocks.restore(state.code, `${where}.code`);
    this.#mmu.restore(state.mmu, `${where}.mmu`, false);
  }

  // ---- CpuCore: what the system half sees

  readLinear(address: bigint, size: 1 | 2 | 4 | 8, system?: boolean): bigint {
    return this.#access.readLinear(address, size, system);
  }
  writeLinear(address: bigint, size: 1 | 2 | 4 | 8, value: bigint, system?: boolean): void {
    this.#access.writeLinear(address, size, value, system);
  }
  probeLinear(address: bigint, length: number, access: Access, system?: boolean): void {
    this.#access.probeLinear(address, length, access, system);
  }
  linear(segment: number, offset: bigint, size: number, write: boolean): bigint {
    return this.#access.linear(segment, offset, size, write);
  }
  readSegment(segment: number, offset: bigint, size: 1 | 2 | 4 | 8): bigint {
    return this.#access.readSegment(segment, offset, size);
  }
  writeSegment(segment: number, offset: bigint, size: 1 | 2 | 4 | 8, value: bigint): void {
    this.#access.writeSegment(segment, offset, size, value);
  }
  flushTlb(keepGlobal?: boolean): void {
    this.#mmu.flushTlb(keepGlobal);
  }
  flushTlbPage(address: bigint): void {
    this.#mmu.flushPage(lowHalf(address), highHalf(address));
  }
  loadPdptes(cr3: number): boolean {
    return this.#mmu.loadPdptes(cr3);
  }
  hasCode(gpaPage: number): boolean {
    return this.#blocks.hasCode(gpaPage);
  }
  physicalWritten(gpa: number, length: number): void {
    const running = this.#inCode ? this.#view.getInt32(STATE.CURRENT, true) : 0;
    if (this.#blocks.written(gpa, length, running)) this.#selfModified = true;
  }
  /** A device may move the next event, and a block whose code has changed must not go on: such an instruction runs alone,
   * so that the loop's head comes right behind it, in every form. */
  mustRunAlone(device: boolean): boolean {
    if (device) this.#touchedDevice = true;
    return this.#inCode && !this.#alone && (device || this.#selfModified);
  }
  unknownMsr(number: number): void {
    this.unknownMsrs.set(number, (this.unknownMsrs.get(number) ?? 0) + 1);
  }

  modeChanged(): void {
    const { state } = this;
    const view = this.#view;
    const user = state.cpl === 3;
    view.setInt32(STATE.MODE, modeWord(state), true);
    view.setInt32(STATE.TLB, user ? TLB_USER : TLB_SUPERVISOR, true);
    view.setInt32(STATE.FETCH_TLB, user ? FETCH_TLB_USER : FETCH_TLB_SUPERVISOR, true);
    const high = state.is64 ? -1 : 0; // the masks are all ones, in 64 bits or in 32
    view.setInt32(STATE.ADDRESS_MASK, -1, true);
    view.setInt32(STATE.ADDRESS_MASK + 4, high, true);
    view.setInt32(STATE.RIP_MASK, -1, true);
    view.setInt32(STATE.RIP_MASK + 4, high, true);
    this.#mmu.alignmentChanged();
    this.#debugging = (view.getInt32(STATE.DR + 5 * 8, true) & 0xff) !== 0;
  }

  // ---- The loop

  /** Runs until `until` instructions have completed since the CPU was made, or something ends it before. */
  run(until: number): CpuExit {
    const view = this.#view;
    for (;;) {
      const flags = view.getInt32(STATE.SYS_FLAGS, true);
      const shadow = view.getInt32(STATE.SHADOW, true) !== 0;
      if ((flags & RFLAGS.IF) !== 0 && !shadow && this.host.interruptPending()) {
        const exit = this.#interrupt();
        if (exit) return exit;
        continue;
      }
      if (this.#halted) return { kind: 'halt' };
      if (this.#touchedDevice && !this.#tail) {
        this.#touchedDevice = false;
        return { kind: 'event' };
      }
      const remaining = until - this.#done;
      if (remaining <= 0) return { kind: 'budget' };
      if (this.#breakpoints.size > 0) {
        const exit = this.#breakpoint();
        if (exit) return exit;
      }
      const single =
        shadow || this.#tail || this.#plain || this.#debugging || (flags & RFLAGS.TF) !== 0 || this.#limited();
      this.#tail = false;
      if ((flags & RFLAGS.RF) !== 0 && !this.#debugging) view.setInt32(STATE.SYS_FLAGS, flags & ~RFLAGS.RF, true);
      const exit = single ? this.#single() : this.#quantumOf(Math.min(remaining, this.#quantum), remaining);
      if (exit) return exit;
    }
  }

  /** The exit at an address of setBreakpoints, the first time; the next run passes it. */
  #breakpoint(): CpuExit | undefined {
    const { rip } = this.state;
    if (!this.#breakpoints.has(rip) || this.#passing === rip) return undefined;
    this.#passing = rip;
    return { kind: 'breakpoint', at: rip };
  }

  #limited(): boolean {
    return (this.#view.getInt32(STATE.MODE, true) & MODE.CS_LIMITED) !== 0;
  }

  #interrupt(): CpuExit | undefined {
    this.#halted = false;
    if (this.hooks) {
      this.hooks.interrupt();
      return EVENT;
    }
    try {
      const vector = this.host.acknowledgeInterrupt();
      this.#events?.interrupt(vector);
      const view = this.#view;
      const low = view.getInt32(STATE.RIP, true);
      if (this.#gates.deliver(vector, -1, low, view.getInt32(STATE.RIP + 4, true), false, false)) return undefined;
      if (deliverInterrupt(this, vector) === 'triple-fault') return { kind: 'triple-fault' };
    } catch (e) {
      return this.#caught(e);
    }
    return undefined;
  }

  /** Generated code for up to `grant` instructions. */
  #quantumOf(grant: number, remaining: number): CpuExit | undefined {
    const view = this.#view;
    if (this.#breakpoints.size > 0) {
      // A block that begins with a stop begins with another address's, or with the one being passed: step over it.
      const { rip } = this.state;
      if ([...this.#breakpoints].some((b) => (b & 0xfffn) === (rip & 0xfffn))) return this.#single();
    }
    const block = this.#exports.lookup() || this.#fetch.find(0);
    if (block < 0) return this.#raise();
    const status = this.#execute(block, grant);
    if (status === STATUS.BUDGET) {
      // The next block is longer than what is left of the grant. Near the end of `until`, and where a grant is shorter
      // than any block, the rest goes one by one.
      const left = view.getInt32(STATE.LEFT, true);
      this.#settle();
      this.#tail = left > 0 && (grant === remaining || left === grant);
      return undefined;
    }
    return this.#after(status);
  }

  /** One instruction in its plain form, with everything that is checked around one. */
  #single(): CpuExit | undefined {
    const { state } = this;
    const trap = (this.#view.getInt32(STATE.SYS_FLAGS, true) & RFLAGS.TF) !== 0;
    const view = this.#view;
    const { shadow } = state;
    if (this.#debugging && shadow !== SHADOW.STACK) {
      const hit = this.#instructionBreakpoint();
      if (hit) return this.#deliver(new GuestFault(VECTOR.DB), hit);
    }
    this.#passing = undefined;
    const before = this.#done;
    // RF holds for one instruction; cleared here and not behind it, so that an IRET can set it for the next.
    view.setInt32(STATE.SYS_FLAGS, view.getInt32(STATE.SYS_FLAGS, true) & ~RFLAGS.RF, true);
    state.shadow = SHADOW.NONE;
    if (shadow !== SHADOW.STACK) view.setInt32(BREAKPOINT_HITS, 0, true);
    const block = this.#fetch.find(MODE.PLAIN);
    if (block < 0) return this.#raise();
    const low = view.getInt32(STATE.RIP, true);
    this.#alone = true;
    this.#stepping = true;
    this.#throughGate = false;
    const status = this.#execute(block, 1);
    this.#alone = false;
    const exit = this.#after(status);
    this.#stepping = false;
    if (this.#done === before) return exit;
    // Of several shadows in a row only the first holds, so that interrupts cannot be kept out for ever.
    if (shadow !== SHADOW.NONE) state.shadow = SHADOW.NONE;
    // Between two iterations of REP the instruction is not over: RF stays set, and its breakpoints do not fire again.
    const repeats = view.getInt32(block + BLOCK.REPEATS, true) !== 0 && view.getInt32(STATE.RIP, true) === low;
    if (repeats && this.#breakpoints.size > 0) this.#passing = state.rip;
    if (this.#debugging || trap) {
      if (repeats) view.setInt32(STATE.SYS_FLAGS, view.getInt32(STATE.SYS_FLAGS, true) | RFLAGS.RF, true);
      // MOV SS holds debug traps off, too: what a breakpoint saw waits, a single step is lost (SDM Vol. 3, 6.8.3).
      if (state.shadow === SHADOW.STACK) return exit;
      const hits = view.getInt32(BREAKPOINT_HITS, true);
      const dr6 = hits | (trap && !this.#throughGate ? 0x4000 : 0);
      if (dr6 !== 0 && (exit === undefined || exit.kind === 'event' || exit.kind === 'halt')) {
        this.#halted = false;
        return this.#deliver(new GuestFault(VECTOR.DB), dr6) ?? (exit?.kind === 'event' ? exit : undefined);
      }
    }
    return exit;
  }

  /** Set by a helper that went through a gate: the single-step trap belongs to the interrupted code, whose TF is saved. */
  #throughGate = false;

  #instructionBreakpoint(): number {
    const { state } = this;
    if ((this.#view.getInt32(STATE.SYS_FLAGS, true) & RFLAGS.RF) !== 0) return 0;
    const dr7 = Number(state.dr(7));
    const at = this.#fetch.linearRip();
    for (let n = 0; n < 4; n++) {
      const enabled = ((dr7 >> (2 * n)) & 3) !== 0 && ((dr7 >> (16 + 4 * n)) & 3) === 0;
      if (enabled && state.dr(n) === at) return 1 << n;
    }
    return 0;
  }

  #execute(block: number, grant: number): number {
    const view = this.#view;
    view.setInt32(STATE.LEFT, grant, true);
    this.#selfModified = false;
    this.#grant = grant;
    this.#inCode = true;
    const plain = this.#stepping || this.hooks !== undefined || this.#events !== undefined;
    view.setInt32(STATE.SHORTCUTS, plain ? 0 : 1, true);
    const is64 = (view.getInt32(STATE.MODE, true) & MODE.CODE_SIZE) === 2;
    const status = is64 ? this.#exports.run64(block) : this.#exports.run32(block);
    this.#inCode = false;
    return status;
  }

  /** Books what generated code completed. */
  #settle(): void {
    this.#done += this.#grant - this.#view.getInt32(STATE.LEFT, true);
    this.#grant = 0;
    this.#view.setInt32(STATE.LEFT, 0, true);
  }

  /** Gives back the instructions of the block from the record at CURRENT on, and points RIP at it. */
  #rewind(): number {
    const view = this.#view;
    const record = view.getInt32(STATE.CURRENT, true);
    view.setInt32(STATE.LEFT, view.getInt32(STATE.LEFT, true) + view.getUint8(record + REC.REMAINING), true);
    this.#settle();
    return record;
  }

  /** RIP := the record's instruction, or `extra` bytes behind its start. */
  #pointRip(record: number, extra: number): void {
    const view = this.#view;
    const base = view.getInt32(STATE.PAGE_BASE, true);
    const low = (base + view.getUint16(record + REC.OFFSET, true) + extra) | 0;
    const carry = low >>> 0 < base >>> 0 ? 1 : 0;
    view.setInt32(STATE.RIP, low, true);
    const high = (view.getInt32(STATE.PAGE_BASE + 4, true) + carry) & view.getInt32(STATE.RIP_MASK + 4, true);
    view.setInt32(STATE.RIP + 4, high, true);
  }

  #after(status: number): CpuExit | undefined {
    const view = this.#view;
    switch (status) {
      case STATUS.BUDGET:
      case STATUS.JUMP:
        this.#settle();
        return undefined;
      case STATUS.RESYNC:
        this.#rewind();
        return undefined;
      case STATUS.FAULT: {
        const record = this.#rewind();
        this.#pointRip(record, 0);
        if (view.getInt32(STATE.FAULT_VECTOR, true) !== AGAIN) return this.#raise();
        this.#tail = true;
        return undefined;
      }
      case STATUS.HELPER:
        return this.#helper(this.#rewind());
      case STATUS.THROWN: {
        this.#pointRip(this.#rewind(), 0);
        return this.#caught(this.#thrown);
      }
      case STATUS.JUMPED:
        this.#rewind();
        this.#done++;
        return undefined;
      default: {
        const record = this.#rewind();
        this.#done++;
        this.#pointRip(record, view.getUint8(record + REC.LENGTH));
        return status === STATUS.EVENT ? EVENT : undefined;
      }
    }
  }

  /** What a quick helper threw inside generated code. */
  #thrown: unknown;
  /** One instruction at a time: generated code leaves everything to the loop. */
  #stepping = false;

  /** Generated code asks for an instruction of ours. The frequent ones are done without leaving it. */
  #askHelper(record: number): number {
    if (this.#stepping) return STATUS.HELPER;
    const view = this.#view;
    const helper = this.#blocks.helper(view.getInt32(record + REC.EXTRA, true));
    const quick = this.#quickOf(helper);
    if (quick === null || ((this.hooks || this.#events) && HOOKED.has(helper.helper))) return STATUS.HELPER;
    const mode = view.getInt32(STATE.MODE, true);
    const cpl = view.getInt32(STATE.CPL, true);
    if (helper.helper === 'int') this.#pointRip(record, helper.length); // it pushes the next RIP
    switch (quick(helper)) {
      case QUICK.NO:
        return STATUS.HELPER;
      case QUICK.DONE:
        return ASK.NEXT;
      default:
        return this.#goesOn(mode, cpl) ? ASK.JUMP : STATUS.JUMPED;
    }
  }

  /** A port access of generated code, which IOPL allows. */
  #port(port: number, size: 1 | 2 | 4, out: boolean): number {
    const view = this.#view;
    try {
      if (out) {
        const value = view.getUint32(STATE.GPR, true);
        this.host.portWrite(port, size, size === 4 ? value : value & (size === 1 ? 0xff : 0xffff));
      } else {
        const value = this.host.portRead(port, size);
        if (size === 1) view.setUint8(STATE.GPR, value);
        else if (size === 2) view.setUint16(STATE.GPR, value, true);
        else {
          view.setInt32(STATE.GPR, value, true);
          view.setInt32(STATE.GPR + 4, 0, true);
        }
      }
    } catch (e) {
      this.#thrown = e;
      return LEAVE + STATUS.THROWN;
    }
    const waiting = (view.getInt32(STATE.SYS_FLAGS, true) & RFLAGS.IF) !== 0 && this.host.interruptPending();
    return !waiting && this.host.nothingMoved?.() ? ASK.NEXT : LEAVE + STATUS.EVENT;
  }

  /** Whether generated code may go on by itself after a transfer: same loop, same TLB, nothing to take or to step. */
  #goesOn(mode: number, cpl: number): boolean {
    const view = this.#view;
    const flags = view.getInt32(STATE.SYS_FLAGS, true);
    if (view.getInt32(STATE.MODE, true) !== mode || view.getInt32(STATE.CPL, true) !== cpl) return false;
    if ((flags & RFLAGS.TF) !== 0 || ((flags & RFLAGS.IF) !== 0 && this.host.interruptPending())) return false;
    if ((flags & RFLAGS.RF) !== 0) {
      // RF ends with the next instruction; with none left to run, it is still set.
      if (view.getInt32(STATE.LEFT, true) === 0) return false;
      view.setInt32(STATE.SYS_FLAGS, flags & ~RFLAGS.RF, true);
    }
    return true;
  }

  /** Generated code met a fault. An ordinary one is delivered without leaving it. */
  #askFault(record: number): number {
    const view = this.#view;
    const vector = view.getInt32(STATE.FAULT_VECTOR, true);
    if (this.#stepping || this.hooks || this.#events || vector === AGAIN || this.#faults.inRow > 1) return STATUS.FAULT;
    const error = view.getInt32(STATE.FAULT_ERROR, true);
    const mode = view.getInt32(STATE.MODE, true);
    const cpl = view.getInt32(STATE.CPL, true);
    this.#pointRip(record, 0);
    const low = view.getInt32(STATE.RIP, true);
    const high = view.getInt32(STATE.RIP + 4, true);
    if (!this.#gates.deliver(vector, error, low, high, false, true)) return STATUS.FAULT;
    const completed = this.instructions;
    if (vector === VECTOR.PF) {
      view.setInt32(STATE.CR2, view.getInt32(STATE.FAULT_CR2, true), true);
      view.setInt32(STATE.CR2 + 4, view.getInt32(STATE.FAULT_CR2 + 4, true), true);
    }
    this.#faults.note(vector, error, low, high, completed);
    view.setInt32(STATE.LEFT, view.getInt32(STATE.LEFT, true) + view.getUint8(record + REC.REMAINING), true);
    return this.#goesOn(mode, cpl) ? ASK.JUMP : STATUS.JUMP;
  }

  #quickOf(record: HelperRecord): ((record: HelperRecord) => number) | null {
    if (record.quick === undefined) record.quick = this.#quick.table[record.helper] ?? null;
    return record.quick;
  }

  /** Delivers the exception in FAULT_*, at RIP. All that come this way are faults. */
  #raise(): CpuExit | undefined {
    const view = this.#view;
    const error = view.getInt32(STATE.FAULT_ERROR, true);
    const vector = view.getInt32(STATE.FAULT_VECTOR, true);
    const isPageFault = vector === VECTOR.PF;
    const low = view.getInt32(STATE.RIP, true);
    const high = view.getInt32(STATE.RIP + 4, true);
    if (this.hooks) {
      const cr2 = isPageFault ? this.#faultCr2() : undefined;
      const exit = this.#hooked(this.hooks, new GuestFault(vector, error < 0 ? undefined : error, cr2));
      if (exit !== 'native') return exit;
    } else {
      this.#events?.exception(vector, error < 0 ? undefined : error, isPageFault ? this.#faultCr2() : undefined);
      if (this.#faults.note(vector, error, low, high, this.#done)) return { kind: 'fault-loop' };
    }
    if (isPageFault) {
      view.setInt32(STATE.CR2, view.getInt32(STATE.FAULT_CR2, true), true);
      view.setInt32(STATE.CR2 + 4, view.getInt32(STATE.FAULT_CR2 + 4, true), true);
    }
    if (!this.#stepping && this.#gates.deliver(vector, error, low, high, false, true)) return undefined;
    const cr2 = isPageFault ? this.#faultCr2() : undefined;
    return this.#enterGate(vector, error < 0 ? undefined : error, cr2);
  }

  #faultCr2(): bigint {
    return this.#view.getBigUint64(STATE.FAULT_CR2, true);
  }

  /** Asks the hypervisor about an exception, and books it when it is more than an instruction to emulate. */
  #hooked(hooks: TrapHooks, { vector, errorCode, cr2 }: GuestFault, dr6?: number): CpuExit | 'native' {
    const { rip } = this.state;
    this.#events?.exception(vector, errorCode, cr2);
    const answer = hooks.exception({ vector, errorCode, cr2, dr6 });
    if (answer === 'completed') {
      this.#done++;
      return EVENT;
    }
    if (cr2 !== undefined) this.#view.setBigUint64(STATE.FAULT_CR2, cr2, true);
    if (this.#faults.note(vector, errorCode ?? -1, lowHalf(rip), highHalf(rip), this.#done))
      return { kind: 'fault-loop' };
    return answer === 'entered' ? EVENT : 'native';
  }

  #deliver({ vector, errorCode, cr2 }: GuestFault, dr6?: number): CpuExit | undefined {
    if (this.hooks) {
      const exit = this.#hooked(this.hooks, { vector, errorCode, cr2 }, dr6);
      return exit === 'native' ? this.#enterGate(vector, errorCode, cr2, dr6) : exit;
    }
    this.#events?.exception(vector, errorCode, cr2);
    if (cr2 !== undefined) this.#view.setBigUint64(STATE.FAULT_CR2, cr2, true);
    const view = this.#view;
    const low = view.getInt32(STATE.RIP, true);
    const high = view.getInt32(STATE.RIP + 4, true);
    if (this.#faults.note(vector, errorCode ?? -1, low, high, this.#done)) return { kind: 'fault-loop' };
    return this.#enterGate(vector, errorCode, cr2, dr6);
  }

  #enterGate(vector: number, errorCode?: number, cr2?: bigint, dr6?: number): CpuExit | undefined {
    try {
      const options = dr6 === undefined ? {} : { dr6 };
      if (deliverException(this, vector, errorCode, cr2, options) === 'triple-fault') return { kind: 'triple-fault' };
    } catch (e) {
      return this.#caught(e);
    }
    return undefined;
  }

  /** The first exception of the run. */
  get firstFault(): RaisedFault | undefined {
    return this.#faults.first;
  }
  /** The last exceptions, newest last. */
  get recentFaults(): RaisedFault[] {
    return this.#faults.recent;
  }
  /** Exceptions so far. */
  get faultCount(): number {
    return this.#faults.count;
  }

  #caught(e: unknown): CpuExit | undefined {
    if (e instanceof GuestFault) return this.#deliver(e);
    if (e instanceof Unbuilt) return { kind: 'unbuilt', what: e.what, table: e.table };
    throw e;
  }

  #helper(recordAddress: number): CpuExit | undefined {
    const { state } = this;
    const record = this.#blocks.helper(this.#view.getInt32(recordAddress + REC.EXTRA, true));
    this.#throughGate = false;
    const insn = this.#insn;
    this.#pointRip(recordAddress, record.length);
    const next = state.rip;
    this.#pointRip(recordAddress, 0);
    insn.use(record, state.rip, next);
    const traced = this.#events !== undefined && TRACED.has(record.helper);
    if (traced) this.#events?.before(insn);
    if (this.#events && GATES.has(record.helper) && (record.helper !== 'into' || (state.rflags & RFLAGS.OF) !== 0)) {
      this.#events.softwareInterrupt(SOFTWARE_VECTORS[record.helper] ?? record.vector, state.rip);
    }
    try {
      let jumped: unknown;
      if (this.hooks && HOOKED.has(record.helper)) {
        const answer = this.#askHooks(this.hooks, record.helper, insn);
        if (answer === 'entered') return EVENT;
        if (answer === 'completed') {
          this.#done++;
          return EVENT;
        }
      }
      if (record.helper === 'reference') jumped = evaluate(this, record);
      else if (record.helper === 'unbuilt') throw unbuiltInstruction(record);
      else if (record.helper === 'too_long') throw new GuestFault(VECTOR.GP, 0);
      else if (record.helper === 'hlt') this.#halt();
      else if (record.helper === 'ins' || record.helper === 'outs') jumped = this.#portString(insn, record.helper);
      else {
        const helper = HELPERS[record.helper];
        if (helper === undefined) throw new Error(`broken belief: a helper named ${record.helper} exists`);
        jumped = helper(this, insn);
        this.#throughGate = jumped === true && GATES.has(record.helper);
      }
      if (traced) this.#events?.after(record.helper, insn);
      if (jumped !== true) state.rip = next;
    } catch (e) {
      return this.#caught(e);
    }
    this.#done++;
    if (this.#halted) return { kind: 'halt' };
    if (record.helper === 'syscall' || record.helper === 'sysret') {
      // They are stepped by the TF that they leave behind: a kernel that masks it is not stepped into, and a return to
      // a stepped program traps at once, as if the program's SYSCALL had just completed.
      this.#throughGate = true;
      if ((state.rflags & RFLAGS.TF) !== 0) return this.#deliver(new GuestFault(VECTOR.DB), 0x4000);
    }
    return EVENT_HELPERS.has(record.helper) ? { kind: 'event' } : undefined;
  }

  /** INT n and SYSCALL under a hypervisor. */
  #askHooks(hooks: TrapHooks, helper: string, insn: HelperInsn): TrapAnswer {
    if (helper === 'syscall') return hooks.systemCall(insn.nextRip);
    if (helper === 'into' && (this.state.rflags & RFLAGS.OF) === 0) return 'native';
    const vector = SOFTWARE_VECTORS[helper] ?? Number(insn.immediate & 0xffn);
    return hooks.softwareInterrupt(vector, insn.nextRip);
  }

  #halt(): void {
    if (this.state.cpl !== 0) throw new GuestFault(VECTOR.GP, 0);
    this.#halted = true;
  }

  /** INS and OUTS: one element; under REP each counts one instruction and RIP stays until the count is zero. */
  #portString(insn: HelperInsn, name: 'ins' | 'outs'): boolean {
    const { state } = this;
    const step = name === 'ins' ? ioHelpers.ins_step : ioHelpers.outs_step;
    if (insn.rep === 0) {
      step(this, insn);
      return false;
    }
    const count = state.gpr(1, insn.addressSize);
    if (count === 0n) return false;
    step(this, insn);
    state.setGpr(1, count - 1n, insn.addressSize);
    return count !== 1n;
  }

  // ---- Segments that are not flat

  /** The checked-segment step of generated code: LINEAR, or 1 with the fault in FAULT_*. */
  #segmentStep(record: number): number {
    const view = this.#view;
    const field = (offset: number): bigint => view.getBigInt64(view.getUint16(record + offset, true), true);
    const extra = view.getInt32(record + REC.EXTRA, true);
    const width = extra >> STEP.BIT_WIDTH;
    const mask = BigInt.asUintN(64, view.getBigInt64(record + REC.IMMEDIATE, true));
    let offset = field(REC.BASE) + (field(REC.INDEX) << BigInt(view.getUint8(record + REC.SCALE)));
    offset += BigInt(view.getInt32(record + REC.DISPLACEMENT, true));
    if (width !== 0) offset += (BigInt.asIntN(width, field(REC.B)) >> 3n) & BigInt(-(width / 8));
    try {
      const segment = view.getUint8(record + REC.SEGMENT);
      const write = (extra & STEP.WRITE) !== 0;
      const linear = this.linear(segment, BigInt.asUintN(64, offset) & mask, extra & STEP.SIZE, write);
      view.setBigUint64(STATE.LINEAR, linear, true);
      return 0;
    } catch (e) {
      if (!(e instanceof GuestFault)) throw e;
      view.setInt32(STATE.FAULT_VECTOR, e.vector, true);
      view.setInt32(STATE.FAULT_ERROR, e.errorCode ?? -1, true);
      return 1;
    }
  }
}

const EVENT: CpuExit = { kind: 'event' };

const GATES = new Set(['int', 'int3', 'into', 'int1']);
const SOFTWARE_VECTORS: Record<string, number> = { int3: VECTOR.BP, into: VECTOR.OF, int1: VECTOR.DB };
/** What a hypervisor is asked about before it is done. */
const HOOKED = new Set([...GATES, 'syscall']);

/** What a row that is not built ends in. */
function unbuiltInstruction(record: HelperRecord): Unbuilt {
  return new Unbuilt(`${record.name} (${record.form?.op.unbuilt ?? ''})`, 'x86/isa');
}
