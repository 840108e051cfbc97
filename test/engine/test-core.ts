/** TestCore: a CPU without an engine, for tests of its system half.
 *
 * Real state, real page walks, real TLBs and real memory access over one ArrayBuffer; only the parts that the run loop
 * owns (time, the code map, the mode word) are counted instead of acted on. */
import { MemoryAccess } from '../../src/engine/access.ts';
import { type Access, type CpuHost, GuestFault, type HelperInsn } from '../../src/engine/core.ts';
import { CpuState } from '../../src/engine/cpu-state.ts';
import { highHalf, lowHalf } from '../../src/engine/halves.ts';
import { Mmu } from '../../src/engine/mmu.ts';
import { type PagingFeatures, pagingFeatures } from '../../src/engine/page-walk.ts';
import { RAM } from '../../src/engine/state.ts';
import type { SystemCore } from '../../src/engine/system/system-core.ts';
import { type CpuModel, MAX_MODEL } from '../../src/x86/cpuid.ts';

/** A bus where nothing lives but what a test wrote there; remembers every access. */
export class TestHost implements CpuHost {
  readonly log: string[] = [];
  readonly ports = new Map<number, number>();
  readonly mmio = new Map<number, number>();
  portRead(port: number, size: 1 | 2 | 4): number {
    this.log.push(`in${size} ${port.toString(16)}`);
    return this.ports.get(port) ?? 2 ** (8 * size) - 1;
  }
  portWrite(port: number, size: 1 | 2 | 4, value: number): void {
    this.log.push(`out${size} ${port.toString(16)}=${value.toString(16)}`);
  }
  mmioRead(gpa: number, size: 1 | 2 | 4): number {
    this.log.push(`read${size} ${gpa.toString(16)}`);
    return this.mmio.get(gpa) ?? 2 ** (8 * size) - 1;
  }
  mmioWrite(gpa: number, size: 1 | 2 | 4, value: number): void {
    this.log.push(`write${size} ${gpa.toString(16)}=${value.toString(16)}`);
  }
  interruptPending(): boolean {
    return false;
  }
  acknowledgeInterrupt(): number {
    return 0xff;
  }
}

export class TestCore implements SystemCore {
  readonly buffer: ArrayBuffer;
  readonly state: CpuState;
  readonly host = new TestHost();
  readonly ramSize: number;
  readonly mmu: Mmu;
  readonly memory: MemoryAccess;
  /** Guest RAM. */
  readonly ram: DataView;
  readonly codeFrames = new Set<number>();
  readonly written: [gpa: number, length: number][] = [];
  readonly unknownMsrs: string[] = [];
  model: CpuModel = MAX_MODEL;
  instructions = 0;
  now = 0;
  flushes = 0;
  modeChanges = 0;

  constructor(ramSize = 0x10_0000, features: PagingFeatures = pagingFeatures(MAX_MODEL)) {
    this.ramSize = ramSize;
    this.buffer = new ArrayBuffer(RAM + ramSize);
    this.state = new CpuState(this.buffer);
    this.state.rflags = 2;
    this.ram = new DataView(this.buffer, RAM, ramSize);
    this.mmu = new Mmu(this, this.buffer, features);
    this.memory = new MemoryAccess(this.state, this.mmu);
  }

  hasCode(gpaPage: number): boolean {
    return this.codeFrames.has(gpaPage);
  }
  physicalWritten(gpa: number, length: number): void {
    this.written.push([gpa, length]);
  }
  readLinear(address: bigint, size: 1 | 2 | 4 | 8, system?: boolean): bigint {
    return this.memory.readLinear(address, size, system);
  }
  writeLinear(address: bigint, size: 1 | 2 | 4 | 8, value: bigint, system?: boolean): void {
    this.memory.writeLinear(address, size, value, system);
  }
  probeLinear(address: bigint, length: number, access: Access, system?: boolean): void {
    this.memory.probeLinear(address, length, access, system);
  }
  linear(segment: number, offset: bigint, size: number, write: boolean): bigint {
    return this.memory.linear(segment, offset, size, write);
  }
  readSegment(segment: number, offset: bigint, size: 1 | 2 | 4 | 8): bigint {
    return this.memory.readSegment(segment, offset, size);
  }
  writeSegment(segment: number, offset: bigint, size: 1 | 2 | 4 | 8, value: bigint): void {
    this.memory.writeSegment(segment, offset, size, value);
  }
  flushTlb(): void {
    this.flushes++;
    this.mmu.flushTlb();
  }
  flushTlbPage(address: bigint): void {
    this.mmu.flushPage(lowHalf(address), highHalf(address));
  }
  loadPdptes(cr3: number): boolean {
    return this.mmu.loadPdptes(cr3);
  }
  unknownMsr(number: number, write: boolean): void {
    this.unknownMsrs.push(`${write ? 'w' : 'r'} ${number.toString(16)}`);
  }
  modeChanged(): void {
    this.modeChanges++;
    this.mmu.alignmentChanged();
  }
}

/** An instruction of which only what a test cares about is given. */
export function insn(given: Partial<Omit<HelperInsn, 'offset'>> & { at?: bigint } = {}): HelperInsn {
  const { at = 0n, ...rest } = given;
  return {
    rip: 0x1000n,
    nextRip: 0x1002n,
    length: 2,
    name: 'test',
    operandSize: 4,
    addressSize: 4,
    rep: 0,
    reg: 0,
    isMemory: 'at' in given,
    rm: 0,
    mod: 'at' in given ? 0 : 3,
    segment: 3,
    offset: () => at,
    immediate: 0n,
    immediate2: 0,
    opcode: 0,
    ...rest,
  };
}

/** The fault that an action raises, if any; other errors pass through. */
export function thrown(action: () => unknown): GuestFault | undefined {
  try {
    action();
  } catch (error) {
    if (error instanceof GuestFault) return error;
    throw error;
  }
  return undefined;
}
