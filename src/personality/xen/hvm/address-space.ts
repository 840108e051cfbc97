/** AddressSpace: the physical addresses of a PVH guest, and what Xen lays into them.
 *
 * RAM is the machine's. Some pages are Xen's: shared_info and the grant table are nowhere until the guest says where it
 * wants them; the pages of its rings lie near 4 GiB from the start. A page that the guest puts over RAM takes that RAM's
 * place, so from then on its bytes are there; elsewhere they are kept here, and the CPU comes by as for a device.
 * Follows: xen/arch/x86/mm/p2m.c (xenmem_add_to_physmap_one); tools/libs/guest/xg_dom_x86.c (special pages).
 * May not: judge whether a guest may.   Next: personality/xen/hvm/domain.ts. */
import { bytes, listOf, misfit, record, type Saved, text, whole } from '../../../base/saved.ts';
import type { PersonalityCpu } from '../../personality.ts';

const PAGE = 4096;
/** Where a page of Xen's is as long as the guest has not placed it: no guest physical address reaches so far. */
const NOWHERE = 2 ** 45;

export class AddressSpace {
  readonly #cpu: PersonalityCpu;
  readonly #ram: Uint8Array;
  readonly #ramView: DataView;
  /** Pages outside RAM, by frame. */
  readonly #pages = new Map<number, Uint8Array>();
  /** Frames of Xen's pages, by name. */
  readonly #frames = new Map<string, number>();
  #nowhere = NOWHERE / PAGE;
  /** Frames whose pages stay where they are: whoever is behind a ring must never lose it. */
  readonly #fixed = new Set<number>();

  /** `size` bytes of RAM. */
  constructor(cpu: PersonalityCpu, size: number) {
    this.#cpu = cpu;
    this.#ram = new Uint8Array(cpu.buffer, cpu.ramOffset, size);
    this.#ramView = new DataView(cpu.buffer, cpu.ramOffset, size);
  }

  save(): Saved {
    return {
      pages: [...this.#pages].map(([frame, page]) => ({ frame, page })),
      frames: [...this.#frames].map(([name, frame]) => ({ name, frame })),
      nowhere: this.#nowhere,
    };
  }

  restore(saved: Saved, where: string): void {
    const pages = listOf(record({ frame: whole(), page: bytes(PAGE) }));
    const shape = { pages, frames: listOf(record({ name: text, frame: whole() })), nowhere: whole() };
    const state = record(shape)(saved, where);
    const names = new Set(this.#frames.keys());
    this.#pages.clear();
    for (const { frame, page } of state.pages) if (frame >= this.ramFrames) this.#pages.set(frame, page);
    for (const { name, frame } of state.frames) {
      if (!names.delete(name) || !this.has(frame)) throw misfit(where, `the page "${name}" is none, or nowhere`);
      this.#frames.set(name, frame);
    }
    for (const name of names) throw misfit(where, `the page "${name}" is nowhere`);
    for (const frame of this.#fixed) if (!this.#pages.has(frame)) throw misfit(where, `page ${frame} is gone`);
    this.#nowhere = state.nowhere;
  }

  get ramFrames(): number {
    return this.#ram.length / PAGE;
  }

  /** A page of Xen's: for good at this frame, or nowhere yet. Its address. */
  add(name: string, fixedAt?: number): number {
    if (fixedAt !== undefined) this.#fixed.add(fixedAt);
    const frame = fixedAt ?? this.#nowhere++;
    this.#pages.set(frame, new Uint8Array(PAGE));
    this.#frames.set(name, frame);
    return frame * PAGE;
  }

  /** Where a page of Xen's is. */
  addressOf(name: string): number | undefined {
    const frame = this.#frames.get(name);
    return frame === undefined ? undefined : frame * PAGE;
  }
  /** Its frame number, when the guest has given it one. */
  frameOf(name: string): number | undefined {
    const frame = this.#frames.get(name);
    return frame !== undefined && frame < NOWHERE / PAGE ? frame : undefined;
  }

  isFixed(frame: number): boolean {
    return this.#fixed.has(frame);
  }

  /** Moves a page of Xen's to a frame of the guest's choice; what it had there is gone. */
  move(name: string, frame: number): void {
    const from = this.#frames.get(name) as number;
    if (from === frame) return;
    const bytes = this.bytes(from * PAGE, PAGE).slice();
    this.#leave(from);
    this.#evict(frame);
    if (frame < this.ramFrames) this.write(frame * PAGE, bytes);
    else this.#pages.set(frame, bytes);
    this.#frames.set(name, frame);
  }

  /** Takes what is at a frame out of the guest's sight: a page of Xen's lives on, nowhere. */
  remove(frame: number): boolean {
    if (this.isFixed(frame)) return false;
    if (this.#evict(frame)) return true;
    return frame < this.ramFrames;
  }

  #evict(frame: number): boolean {
    for (const [name, at] of this.#frames) {
      if (at !== frame) continue;
      const bytes = this.bytes(frame * PAGE, PAGE).slice();
      this.#leave(frame);
      const nowhere = this.#nowhere++;
      this.#pages.set(nowhere, bytes);
      this.#frames.set(name, nowhere);
      return true;
    }
    return false;
  }

  #leave(frame: number): void {
    if (frame < this.ramFrames) this.write(frame * PAGE, new Uint8Array(PAGE));
    else this.#pages.delete(frame);
  }

  /** A view within one page; the caller has made sure that the page is there (`has`). */
  bytes(at: number, length: number): Uint8Array {
    if (at < this.#ram.length) return this.#ram.subarray(at, at + length);
    const page = this.#pages.get(Math.floor(at / PAGE)) as Uint8Array;
    return page.subarray(at % PAGE, (at % PAGE) + length);
  }

  has(frame: number): boolean {
    return frame < this.ramFrames || this.#pages.has(frame);
  }

  write(at: number, bytes: Uint8Array): void {
    this.bytes(at, bytes.length).set(bytes);
    if (at < this.#ram.length) this.#cpu.physicalWritten(at, bytes.length);
  }

  get8(at: number): number {
    return at < this.#ram.length ? this.#ram[at] : this.bytes(at, 1)[0];
  }
  get32(at: number): number {
    if (at < this.#ram.length) return this.#ramView.getUint32(at, true);
    const [a, b, c, d] = this.bytes(at, 4);
    return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
  }
  set8(at: number, value: number): void {
    this.bytes(at, 1)[0] = value;
    if (at < this.#ram.length) this.#cpu.physicalWritten(at, 1);
  }
  set32(at: number, value: number): void {
    this.write(at, Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24));
  }

  /** The CPU's access outside RAM; undefined where no page of Xen's is. */
  read(at: number, size: 1 | 2 | 4): number | undefined {
    const page = this.#pages.get(Math.floor(at / PAGE));
    if (!page) return undefined;
    let value = 0;
    for (let i = 0; i < size; i++) value |= page[(at + i) % PAGE] << (8 * i);
    return value >>> 0;
  }
  /** False where no page of Xen's is. */
  store(at: number, size: 1 | 2 | 4, value: number): boolean {
    const page = this.#pages.get(Math.floor(at / PAGE));
    if (!page) return false;
    for (let i = 0; i < size; i++) page[(at + i) % PAGE] = value >>> (8 * i);
    return true;
  }
}
