/** WaypointWatch: which places a run still has to come by, and at which addresses it may do so.
 *
 * A waypoint is a linked address. The first ones may be passed before the kernel's page tables are on, at physical
 * addresses; other code may have been there before, so what is found there must be the kernel's own. A kernel that unpacks
 * itself chooses both kinds of addresses, and `move` says which it has chosen.
 * May not: run the machine.   Next: machine/traced-run.ts. */
import { hex } from '../base/numbers.ts';
import type { BootPlan } from '../boot/plan.ts';
import { type ElfImage, isElf } from '../image/kernel-image.ts';
import { isMovedCode, type KernelPlace } from '../symbols/kernel-place.ts';
import type { PhysicalRange } from '../trace/function-map.ts';
import type { Machine } from './machine.ts';

const CODE_BYTES = 16;

type EarlyPlace = { address: bigint; code: Uint8Array };

export class WaypointWatch {
  /** Where parts of the kernel lie; empty for a PV guest, which never runs without page tables. */
  ranges: readonly PhysicalRange[];
  readonly #machine: Machine;
  readonly #elf: ElfImage | undefined;
  readonly #linked: readonly PhysicalRange[];
  readonly #wanted: Map<string, bigint>;
  #early: Map<bigint, EarlyPlace>;
  #moved = 0n;
  /** The kernel has still to choose its place. Until it has, its waypoints lie nowhere; looking out for all of them while
   * it unpacks itself would cost as much as the unpacking. */
  #waits: boolean;

  /** `wanted`: names of places, and where they are linked. */
  constructor(machine: Machine, wanted: ReadonlyMap<string, bigint>, elf: ElfImage | undefined) {
    this.#machine = machine;
    this.#elf = elf;
    this.#wanted = new Map(wanted);
    this.#waits = machine.symbols?.movable !== undefined;
    this.#linked = physicalRanges(machine.plan, elf);
    this.ranges = this.#linked;
    this.#early = this.#earlyPlaces();
  }

  has(name: string): boolean {
    return this.#wanted.has(name);
  }

  /** Addresses to look out for. */
  ahead(): bigint[] {
    if (this.#waits) return [...this.#wanted].filter(([name]) => !this.#isSymbol(name)).map(([, at]) => at);
    const places = new Set(this.#wanted.values());
    return [...places, ...[...this.#early].filter(([, { address }]) => places.has(address)).map(([at]) => at)];
  }

  /** The waypoints here, which are not looked out for any more. */
  passed(here: bigint): string[] {
    const early = this.#early.get(here);
    const found = early && this.#machine.peek(here, early.code.length);
    const there = early && found && isMovedCode(found, early.code, this.#moved) ? early.address : here;
    const names = [...this.#wanted].filter(([, at]) => at === here || at === there).map(([name]) => name);
    for (const name of names) this.#wanted.delete(name);
    return names;
  }

  /** The kernel turned out to run elsewhere than it is linked. Addresses that somebody gave are meant as they are. */
  move({ virtual, physical }: KernelPlace): void {
    this.#moved = virtual;
    this.#waits = false;
    for (const name of this.#wanted.keys()) {
      const address = this.#machine.symbols?.address(name);
      if (address !== undefined) this.#wanted.set(name, address);
    }
    this.ranges = this.#linked.map(({ vaddr, paddr, size }) => ({
      ...{ vaddr: vaddr + virtual, paddr: paddr + physical, size },
    }));
    this.#early = this.#earlyPlaces();
  }

  /** The kernel's memory by its virtual address, whether or not its page tables are on. */
  read(address: bigint, length: number): Uint8Array | undefined {
    const range = this.ranges.find(({ vaddr, size }) => address >= vaddr && address + BigInt(length) <= vaddr + size);
    if (!range) return this.#machine.peek(address, length);
    return this.#machine.physical(Number(address - range.vaddr + range.paddr), length);
  }

  #isSymbol(name: string): boolean {
    return this.#machine.symbols?.address(name) !== undefined;
  }

  #earlyPlaces(): Map<bigint, EarlyPlace> {
    const places = new Map<bigint, EarlyPlace>();
    for (const address of this.#wanted.values()) {
      const range = this.ranges.find(({ vaddr, size }) => address >= vaddr && address < vaddr + size);
      const code = this.#elf && codeOf(this.#elf, address - this.#moved);
      if (range && code && range.vaddr !== range.paddr) {
        places.set(address - range.vaddr + range.paddr, { address, code });
      }
    }
    return places;
  }
}

/** The first bytes at a linked address, as they stand in the file. */
export function codeOf(elf: ElfImage, address: bigint): Uint8Array | undefined {
  const segment = elf.segments.find(
    ({ type, vaddr, filesz }) => type === 1 && address >= vaddr && address < vaddr + BigInt(filesz),
  );
  if (!segment) return undefined;
  const at = segment.offset + Number(address - segment.vaddr);
  return elf.bytes.subarray(at, at + CODE_BYTES);
}

/** Where the kernel runs before its own page tables are on, as linked. */
export function physicalRanges(plan: BootPlan, elf: ElfImage | undefined): PhysicalRange[] {
  const loaded = elf ?? plan.unpackedKernel ?? (isElf(plan.image) ? plan.image : undefined);
  if (!loaded || plan.personality === 'xen-pv') return [];
  return loaded.segments
    .filter(({ type, memsz }) => type === 1 && memsz > 0)
    .map(({ vaddr, paddr, memsz }) => ({ vaddr, paddr, size: BigInt(memsz) }));
}

export const placeName = (place: string | bigint): string => (typeof place === 'bigint' ? hex(place) : place);
