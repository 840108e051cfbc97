/** The pair of 8259A interrupt controllers: sixteen wires in, one wire and one vector out.
 *
 * Each chip holds three bytes: IRR (asking), ISR (in service) and IMR (masked). A request reaches the CPU when it is
 * not masked and ranks above everything in service. The slave's output is the master's input 2.
 * A request whose wire drops before the CPU acknowledges it is withdrawn, in edge mode too (data sheet, "IR inputs
 * must remain high until after the falling edge of the first INTA"); the late acknowledge then gets level 7.
 * Follows: Intel 8259A data sheet (order 231468).   May not: know the CPU; `intr` is polled, `acknowledge` is called.
 * Simpler than the chip: no 8080 mode (named when it is used), no buffered mode (nothing to buffer), ICW3 is stored
 * and believed only as the PC wires it.   Next: devices/cmos-rtc.ts. */
import { byte, flag, keepFields, putFields, type Saved, whole } from '../base/saved.ts';
import { type Device, type IrqLine, UnbuiltDeviceFunction } from './device.ts';

const CASCADE = 2;

const FIELDS = {
  output: flag, imr: byte, irr: byte, isr: byte, lines: byte, base: byte, lowest: whole(7), expected: whole(4), single: flag,
  needsIcw4: flag, levelTriggered: flag, mode8086: flag, autoEoi: flag, rotateOnAutoEoi: flag, specialFullyNested: flag,
  specialMask: flag, poll: flag, readIsr: flag,
}; // biome-ignore format: a list

/** One chip. `vector` of a level is its ICW2 base plus the level. */
class I8259 implements Device {
  readonly name: string;
  /** INT output; the pair looks at it after every change. */
  output = false;
  imr = 0xff; // no firmware ran: nothing is enabled, the vectors are those that a PC's firmware would leave
  private irr = 0;
  private isr = 0;
  private lines = 0; // levels of the input wires
  private base: number;
  private lowest = 7; // the level with the lowest priority; rotation moves it
  private expected = 0; // the next ICW of an initialisation sequence, or 0
  private single = false;
  private needsIcw4 = false;
  private levelTriggered = false;
  private mode8086 = true;
  private autoEoi = false;
  private rotateOnAutoEoi = false;
  private specialFullyNested = false;
  private specialMask = false;
  private poll = false;
  private readIsr = false;
  private readonly isMaster: boolean;
  private readonly changed: () => void;

  constructor(name: string, base: number, isMaster: boolean, changed: () => void) {
    this.name = name;
    this.base = base;
    this.isMaster = isMaster;
    this.changed = changed;
  }

  save(): Saved {
    return keepFields(this, FIELDS);
  }

  restore(saved: Saved, where: string): void {
    putFields(this, FIELDS, saved, where);
  }

  setLine(level: number, high: boolean): void {
    const bit = 1 << level;
    if (high) {
      if (this.levelTriggered || !(this.lines & bit)) this.irr |= bit;
      this.lines |= bit;
    } else {
      this.lines &= ~bit;
      this.irr &= ~bit;
    }
    this.update();
  }

  /** Whether a request on this level would raise the output, given what is masked and in service. */
  wouldInterrupt(level: number): boolean {
    const bit = 1 << level;
    return this.expected === 0 && !(this.imr & bit) && this.rank(level) < this.rankInService();
  }

  /** The level that the INTA cycle chose; its request moves from IRR to ISR. Undefined: spurious. */
  acknowledgeLevel(): number | undefined {
    const level = this.highestRequest();
    if (level === undefined) return undefined;
    const bit = 1 << level;
    // In edge mode the request is used up; in level mode a wire still high asks again.
    if (!(this.levelTriggered && this.lines & bit)) this.irr &= ~bit;
    if (!this.autoEoi) this.isr |= bit;
    else if (this.rotateOnAutoEoi) this.lowest = level;
    this.update();
    return level;
  }

  vector(level: number): number {
    if (!this.mode8086) throw new UnbuiltDeviceFunction(this.name, 'an interrupt in 8080/8085 mode (ICW4 bit 0 clear)');
    return this.base + level;
  }

  read(offset: number, _size: 1 | 2 | 4): number {
    if (this.poll) {
      this.poll = false; // the next read after a poll command is the acknowledge, at either address
      const level = this.acknowledgeLevel();
      return level === undefined ? 0 : 0x80 | level;
    }
    if (offset & 1) return this.imr;
    return this.readIsr ? this.isr : this.irr;
  }

  write(offset: number, _size: 1 | 2 | 4, value: number): void {
    const byte = value & 0xff;
    if (offset & 1) this.writeOdd(byte);
    else if (byte & 0x10) this.initialise(byte);
    else if (byte & 0x08) this.writeOcw3(byte);
    else this.writeOcw2(byte);
    this.update();
  }

  /** ICW1 clears IMR and the edge sense latches, and puts every mode back to its default (data sheet, "ICW1"). */
  private initialise(icw1: number): void {
    this.levelTriggered = (icw1 & 0x08) !== 0;
    this.single = (icw1 & 0x02) !== 0;
    this.needsIcw4 = (icw1 & 0x01) !== 0;
    this.imr = 0;
    this.isr = 0;
    this.irr = this.levelTriggered ? this.lines : 0;
    this.lowest = 7;
    this.specialMask = false;
    this.readIsr = false;
    this.poll = false;
    this.autoEoi = false;
    this.rotateOnAutoEoi = false;
    this.specialFullyNested = false;
    this.mode8086 = false;
    this.expected = 2;
  }

  private writeOdd(byte: number): void {
    switch (this.expected) {
      case 2:
        this.base = byte & 0xf8;
        this.expected = this.single ? (this.needsIcw4 ? 4 : 0) : 3;
        break;
      case 3:
        this.expected = this.needsIcw4 ? 4 : 0;
        break;
      case 4:
        this.mode8086 = (byte & 0x01) !== 0;
        this.autoEoi = (byte & 0x02) !== 0;
        this.specialFullyNested = (byte & 0x10) !== 0;
        this.expected = 0;
        break;
      default:
        this.imr = byte; // OCW1
    }
  }

  /** OCW2: R, SL, EOI in bits 7-5 and a level in bits 2-0. */
  private writeOcw2(byte: number): void {
    const named = byte & 7;
    switch (byte >> 5) {
      case 0b001: // non-specific EOI
        this.endHighest(false);
        break;
      case 0b011: // specific EOI
        this.isr &= ~(1 << named);
        break;
      case 0b101: // rotate on non-specific EOI
        this.endHighest(true);
        break;
      case 0b111: // rotate on specific EOI
        this.isr &= ~(1 << named);
        this.lowest = named;
        break;
      case 0b110: // set priority
        this.lowest = named;
        break;
      case 0b100:
        this.rotateOnAutoEoi = true;
        break;
      case 0b000:
        this.rotateOnAutoEoi = false;
        break;
      default: // 010: no operation
        break;
    }
  }

  private endHighest(rotate: boolean): void {
    // In special mask mode a non-specific EOI does not reach levels that IMR masks (data sheet, "EOI").
    const level = this.first(this.specialMask ? this.isr & ~this.imr : this.isr);
    if (level === undefined) return;
    this.isr &= ~(1 << level);
    if (rotate) this.lowest = level;
  }

  private writeOcw3(byte: number): void {
    if (byte & 0x40) this.specialMask = (byte & 0x20) !== 0;
    if (byte & 0x02) this.readIsr = (byte & 0x01) !== 0;
    if (byte & 0x04) this.poll = true; // goes before the status read that the same word may have chosen
  }

  /** 0 for the highest priority, 7 for the lowest. */
  private rank(level: number): number {
    return (level - this.lowest - 1) & 7;
  }

  /** The level of highest priority in a set of levels. */
  private first(set: number): number | undefined {
    if (set === 0) return undefined;
    for (let rank = 0; rank < 8; rank++) {
      const level = (this.lowest + 1 + rank) & 7;
      if (set & (1 << level)) return level;
    }
    return undefined;
  }

  private rankInService(): number {
    let inService = this.isr;
    if (this.specialMask) inService &= ~this.imr;
    // Special fully nested: a slave in service does not block a better request of the same slave.
    if (this.specialFullyNested && this.isMaster) inService &= ~(1 << CASCADE);
    const level = this.first(inService);
    return level === undefined ? 8 : this.rank(level);
  }

  private highestRequest(): number | undefined {
    if (this.expected !== 0) return undefined; // between ICW1 and the last ICW the chip answers nothing
    const level = this.first(this.irr & ~this.imr);
    return level !== undefined && this.rank(level) < this.rankInService() ? level : undefined;
  }

  private update(): void {
    this.output = this.highestRequest() !== undefined;
    this.changed();
  }
}

export class I8259Pair {
  readonly master: Device;
  readonly slave: Device;
  private readonly first: I8259;
  private readonly second: I8259;
  private passed = false;

  constructor() {
    this.first = new I8259('i8259 master', 0x08, true, () => {});
    this.second = new I8259('i8259 slave', 0x70, false, () => this.pass(this.second.output));
    this.master = this.first;
    this.slave = this.second;
  }

  /** The wire between the two; the chips save themselves. */
  save(): Saved {
    return this.passed;
  }

  restore(saved: Saved, where: string): void {
    this.passed = flag(saved, where);
  }

  /** The wire of ISA interrupt 0-15. Interrupt 2 is the cascade and has none. */
  line(irq: number): IrqLine {
    if (irq < 8) return (high) => this.first.setLine(irq, high);
    return (high) => this.second.setLine(irq - 8, high);
  }

  /** INTR, the wire to the CPU. */
  get intr(): boolean {
    return this.first.output;
  }

  /** The INTA cycle: the vector for the CPU. A request that is gone gives level 7 of the chip that was asked. */
  acknowledge(): number {
    const level = this.first.acknowledgeLevel();
    if (level === undefined) return this.first.vector(7);
    if (level !== CASCADE) return this.first.vector(level);
    // A slave without a request answers 7 (interrupt 15). Its output falls with the request, so the master asks in vain
    // only on hardware, where the two are not one instant.
    const slaveLevel = this.second.acknowledgeLevel() ?? 7;
    // INT drops during INTA even if another request waits (automatic EOI); the master must see it rise again.
    this.pass(false);
    this.pass(this.second.output);
    return this.second.vector(slaveLevel);
  }

  /** Whether a rising edge on this wire would reach the CPU now. While it would not, nobody has to wake for it. */
  wouldInterrupt(irq: number): boolean {
    if (irq < 8) return this.first.wouldInterrupt(irq);
    return this.second.wouldInterrupt(irq - 8) && this.first.wouldInterrupt(CASCADE);
  }
  /** The slave's output is a wire like any other; only a change of it is passed on, or an edge would be made up. */
  private pass(high: boolean): void {
    if (high === this.passed) return;
    this.passed = high;
    this.first.setLine(CASCADE, high);
  }
}
