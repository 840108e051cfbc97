/** The 16550A serial port: eight registers, two FIFOs of 16 bytes, one interrupt wire.
 *
 * Transmission takes no time: a byte written to THR is in the sink before the next instruction, so THRE and TEMT are
 * always set and a THRE interrupt follows each write at once. Bytes come in through `receive`; they have no bit rate,
 * so a FIFO below its trigger level counts as idle for four characters right away (IIR 0xc, not a timer).
 * Follows: National PC16550D data sheet, chapter 8; the PC's wiring of OUT2 (it gates the interrupt pin).
 * May not: know its port, its IRQ number, or what is at the other end of the line.
 * Not modelled because nothing here could see it: bit rate, parity and framing errors, break.
 * Next: devices/i8254.ts. */
import { byte, bytes, flag, keepFields, putFields, type Saved, whole } from '../base/saved.ts';
import type { Device, IrqLine } from './device.ts';

const IER = { RDI: 0x01, THRI: 0x02, RLSI: 0x04, MSI: 0x08 } as const;
const IIR = { NONE: 0x01, MSI: 0x00, THRI: 0x02, RDI: 0x04, RLSI: 0x06, TIMEOUT: 0x0c, FIFOS: 0xc0 } as const;
const FCR = { ENABLE: 0x01, CLEAR_RX: 0x02 } as const;
const LCR = { DLAB: 0x80 } as const;
const MCR = { DTR: 0x01, RTS: 0x02, OUT1: 0x04, OUT2: 0x08, LOOP: 0x10 } as const;
const LSR = { DR: 0x01, OE: 0x02, THRE: 0x20, TEMT: 0x40 } as const;
const MSR = { DCTS: 0x01, DDSR: 0x02, TERI: 0x04, DDCD: 0x08, CTS: 0x10, DSR: 0x20, RI: 0x40, DCD: 0x80 } as const;

const FIFO_SIZE = 16;
const TRIGGER = [1, 4, 8, 14] as const; // FCR bits 7:6

/** The other end of the cable is present and ready, as a terminal is. */
const PEER_READY = MSR.CTS | MSR.DSR | MSR.DCD;

const FIELDS = {
  ier: byte, fifosOn: flag, trigger: byte, lcr: byte, mcr: byte, scr: byte, divisor: whole(0xffff), overrun: flag, modem: byte,
  modemDelta: byte, thrEmptyPending: flag, fifo: bytes(FIFO_SIZE), head: whole(FIFO_SIZE - 1), count: whole(FIFO_SIZE), level: flag,
}; // biome-ignore format: a list

export type Uart16550Options = {
  name: string;
  /** Gets every byte that leaves the port. */
  transmit: (byte: number) => void;
  irq: IrqLine;
  /** Called when the guest made room for more input; the owner of an input queue refills here. */
  onRoom?: () => void;
};

export class Uart16550 implements Device {
  readonly name: string;
  readonly movesEvents = false;
  private readonly transmit: (byte: number) => void;
  private readonly irq: IrqLine;
  private readonly onRoom: (() => void) | undefined;

  private ier = 0;
  private fifosOn = false;
  private trigger: number = TRIGGER[0];
  private lcr = 0;
  private mcr = 0;
  private scr = 0;
  private divisor = 12; // 9600 baud; the chip leaves it undefined
  private overrun = false;
  private modem = PEER_READY; // lines as the receiver sees them, MSR bits 7:4
  private modemDelta = 0; // MSR bits 3:0
  private thrEmptyPending = false;
  private readonly fifo = new Uint8Array(FIFO_SIZE);
  private head = 0;
  private count = 0;
  private level = false;

  constructor(options: Uart16550Options) {
    this.name = options.name;
    this.transmit = options.transmit;
    this.irq = options.irq;
    this.onRoom = options.onRoom;
  }

  save(): Saved {
    return keepFields(this, FIELDS);
  }

  restore(saved: Saved, where: string): void {
    putFields(this, FIELDS, saved, where);
  }

  /** How many bytes `receive` takes now without an overrun; none while the receiver is looped back. */
  get room(): number {
    if (this.mcr & MCR.LOOP) return 0;
    return (this.fifosOn ? FIFO_SIZE : 1) - this.count;
  }

  /** One byte arrives on the line. Without room it is an overrun, as on the chip. */
  receive(byte: number): void {
    if (this.mcr & MCR.LOOP) return; // SIN is disconnected
    this.arrive(byte & 0xff);
    this.update();
  }

  read(offset: number, _size: 1 | 2 | 4): number {
    switch (offset & 7) {
      case 0:
        return this.lcr & LCR.DLAB ? this.divisor & 0xff : this.readReceiver();
      case 1:
        return this.lcr & LCR.DLAB ? this.divisor >> 8 : this.ier;
      case 2:
        return this.readInterruptIdentity();
      case 3:
        return this.lcr;
      case 4:
        return this.mcr;
      case 5:
        return this.readLineStatus();
      case 6:
        return this.readModemStatus();
      default:
        return this.scr;
    }
  }

  write(offset: number, _size: 1 | 2 | 4, value: number): void {
    const byte = value & 0xff;
    switch (offset & 7) {
      case 0:
        if (this.lcr & LCR.DLAB) this.divisor = (this.divisor & 0xff00) | byte;
        else this.writeTransmitter(byte);
        break;
      case 1:
        if (this.lcr & LCR.DLAB) this.divisor = (this.divisor & 0x00ff) | (byte << 8);
        else this.writeInterruptEnable(byte & 0x0f);
        break;
      case 2:
        this.writeFifoControl(byte);
        break;
      case 3:
        this.lcr = byte;
        break;
      case 4:
        this.writeModemControl(byte & 0x1f);
        break;
      case 7:
        this.scr = byte;
        break;
      default: // LSR and MSR: "writing is for factory testing", ignored
        break;
    }
  }

  private readReceiver(): number {
    const byte = this.fifo[this.head];
    if (this.count === 0) return this.fifosOn ? 0 : byte; // an empty receiver buffer still holds the last byte
    this.count--;
    if (this.fifosOn) this.head = (this.head + 1) % FIFO_SIZE;
    this.update();
    this.onRoom?.();
    return byte;
  }

  private writeTransmitter(byte: number): void {
    // THR is full for an instant: the pending interrupt ends, and the emptied THR starts a new one. The wire has to
    // go low between the two, or an edge-triggered controller would miss the second.
    this.thrEmptyPending = false;
    this.update();
    if (this.mcr & MCR.LOOP) this.arrive(byte);
    else this.transmit(byte);
    this.thrEmptyPending = true;
    this.update();
  }

  private writeInterruptEnable(next: number): void {
    const enabled = next & ~this.ier;
    this.ier = next;
    // Enabling THRI while THR is empty asks at once; Linux's THRE test at start-up relies on it, twice in a row.
    if (enabled & IER.THRI) this.thrEmptyPending = true;
    this.update();
  }

  private readInterruptIdentity(): number {
    const identity = this.identity();
    if (identity === IIR.THRI) {
      this.thrEmptyPending = false; // reading IIR resets it, but only if THRE was the source indicated
      this.update();
    }
    return identity | (this.fifosOn ? IIR.FIFOS : 0);
  }

  private writeFifoControl(byte: number): void {
    const on = (byte & FCR.ENABLE) !== 0;
    if (on !== this.fifosOn || byte & FCR.CLEAR_RX) this.clearReceiver();
    this.fifosOn = on;
    this.trigger = on ? TRIGGER[byte >> 6] : 1; // the other bits are programmed only together with bit 0
    this.update();
    this.onRoom?.();
  }

  private clearReceiver(): void {
    this.head = 0;
    this.count = 0;
  }

  private writeModemControl(next: number): void {
    const wasLooped = (this.mcr & MCR.LOOP) !== 0;
    this.mcr = next;
    const looped =
      (next & MCR.RTS ? MSR.CTS : 0) |
      (next & MCR.DTR ? MSR.DSR : 0) |
      (next & MCR.OUT1 ? MSR.RI : 0) |
      (next & MCR.OUT2 ? MSR.DCD : 0);
    this.setModemLines(next & MCR.LOOP ? looped : PEER_READY);
    this.update();
    if (wasLooped && !(next & MCR.LOOP)) this.onRoom?.();
  }

  private setModemLines(lines: number): void {
    const changed = lines ^ this.modem;
    if (changed & MSR.CTS) this.modemDelta |= MSR.DCTS;
    if (changed & MSR.DSR) this.modemDelta |= MSR.DDSR;
    if (changed & MSR.DCD) this.modemDelta |= MSR.DDCD;
    if (changed & this.modem & MSR.RI) this.modemDelta |= MSR.TERI; // only its trailing edge
    this.modem = lines;
  }

  private readLineStatus(): number {
    const status = LSR.THRE | LSR.TEMT | (this.count > 0 ? LSR.DR : 0) | (this.overrun ? LSR.OE : 0);
    if (this.overrun) {
      this.overrun = false;
      this.update();
    }
    return status;
  }

  private readModemStatus(): number {
    const status = this.modem | this.modemDelta;
    if (this.modemDelta) {
      this.modemDelta = 0;
      this.update();
    }
    return status;
  }

  private arrive(byte: number): void {
    if (!this.fifosOn) {
      if (this.count > 0) this.overrun = true; // the new byte replaces the one that nobody read
      this.fifo[this.head] = byte;
      this.count = 1;
    } else if (this.count === FIFO_SIZE) {
      this.overrun = true; // the FIFO keeps its bytes, the new one is lost in the shift register
    } else {
      this.fifo[(this.head + this.count++) % FIFO_SIZE] = byte;
    }
  }

  /** IIR bits 3:0 by the data sheet's table of priorities (8.6.2). */
  private identity(): number {
    if (this.ier & IER.RLSI && this.overrun) return IIR.RLSI;
    if (this.ier & IER.RDI && this.count > 0) return this.count >= this.trigger ? IIR.RDI : IIR.TIMEOUT;
    if (this.ier & IER.THRI && this.thrEmptyPending) return IIR.THRI;
    if (this.ier & IER.MSI && this.modemDelta) return IIR.MSI;
    return IIR.NONE;
  }

  private update(): void {
    // The PC's adapter passes INTR through a buffer that OUT2 opens; in loopback the OUT2 pin is held inactive.
    const connected = (this.mcr & (MCR.OUT2 | MCR.LOOP)) === MCR.OUT2;
    const level = connected && this.identity() !== IIR.NONE;
    if (level === this.level) return;
    this.level = level;
    this.irq(level);
  }
}
