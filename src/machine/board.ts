/** The board: every device of the machine, its ports and its interrupt wire, in one table for all entry paths.
 *
 * It is a PC/AT without firmware, display, disks, DMA or PCI. Holes that kernels like to probe have rows as well, so
 * that the report can name them; every other port and address is a hole without a name. To add a device: one row.
 * Addresses: IBM PC/AT Technical Reference, I/O address map; what a stock kernel touches of it.
 * Events: a device says when it wants the time (`nextEvent`), and the run loop calls `runEvents` then. A device whose
 * interrupt could not reach the CPU now (masked, or blocked by one in service) need not be waited for: its state
 * follows from the clock, and everybody is brought up to date before the guest looks at an interrupt controller.
 * May not: run anything or end a run; resets and exits go to whoever made the board.
 * Next: machine/console.ts. */
import { BootError } from '../base/errors.ts';
import { anything, bytes, record, type Saved } from '../base/saved.ts';
import { CmosRtc } from '../devices/cmos-rtc.ts';
import { DebugConsole } from '../devices/debug-console.ts';
import { DebugExit } from '../devices/debug-exit.ts';
import type { Clock, Device } from '../devices/device.ts';
import { I8042 } from '../devices/i8042.ts';
import { I8254 } from '../devices/i8254.ts';
import { I8259Pair } from '../devices/i8259.ts';
import { Port61 } from '../devices/port61.ts';
import { ResetControl, SystemControlA } from '../devices/reset-control.ts';
import { Uart16550 } from '../devices/uart16550.ts';
import { MmioBus, type MmioRow } from './mmio-bus.ts';
import { type AbsentRange, PioBus, type PioRow } from './pio-bus.ts';

/** A device that only time or input can make interrupt names its wire; nobody asks the others about the time. */
type BoardRow = PioRow & { irq?: number };

export type BoardOptions = {
  clock: Clock;
  /** Every byte that the guest sends over the serial port. */
  console: (byte: number) => void;
  /** Every byte written to port 0xe9; the console when it is not given. */
  debugConsole?: (byte: number) => void;
  /** Seconds since 1970-01-01T00:00:00Z at virtual time 0 (default: the fixed date of devices/cmos-rtc.ts). */
  rtcSeconds?: number;
  /** The guest pulled a reset line; the argument says which, for people. */
  onReset: (how: string) => void;
  onDebugExit: (value: number) => void;
};

/** A line of the port map, for people and reports. */
export type BoardLine = { first: number; last: number; name: string; irq: number | undefined; present: boolean };

export type Board = {
  pio: PioBus;
  mmio: MmioBus;
  pic: I8259Pair;
  uart: Uart16550;
  /** Virtual time (ns) of the next event that could interrupt the CPU as things stand; undefined: none ever will. */
  nextEvent(): number | undefined;
  /** Brings every device up to the present time. Call it at or after the time that nextEvent gave. */
  runEvents(): void;
  /** Input for the serial port. It waits in a queue until the receiver has room, so nothing is lost to an overrun. */
  send(bytes: Uint8Array): void;
  /** Bytes that the guest has not taken yet. */
  pendingInput(): number;
  /** The wire to the CPU's INTR pin. */
  intr(): boolean;
  /** The interrupt acknowledge cycle: the vector. May throw UnbuiltDeviceFunction (8080 mode). */
  acknowledge(): number;
  /** The port map. */
  describe(): BoardLine[];
  /** Accesses that met no device. */
  absentAccesses(): { ports: AbsentRange[]; memory: AbsentRange[] };
  /** The devices of the machine, each once. */
  devices(): Device[];
  /** The state of all of them; a BootError names a device that has none to give. */
  save(): Saved;
  restore(saved: Saved, where: string): void;
};

type Timer = {
  irq: number;
  device: I8254 | CmosRtc;
  /** Whether `due` is right. */
  known: boolean;
  /** Virtual time (ns) of its next event; infinity when there is none. */
  due: number;
};

export function createBoard(options: BoardOptions): Board {
  const { clock, onReset } = options;
  const pic = new I8259Pair();
  const pit = new I8254(clock, pic.line(0));
  const i8042 = new I8042(onReset);
  const rtc = new CmosRtc({ clock, irq: pic.line(8), startSeconds: options.rtcSeconds });
  const input: Uint8Array[] = [];
  let taken = 0; // of the first array of `input`
  const feed = (): void => {
    while (input.length > 0 && uart.room > 0) {
      uart.receive(input[0][taken++]);
      if (taken < input[0].length) continue;
      input.shift();
      taken = 0;
    }
  };
  const uart = new Uart16550({ name: 'uart16550', transmit: options.console, irq: pic.line(4), onRoom: feed });

  /** The devices that do something by themselves. When each is due is worked out once and kept until something touches
   * it: guests that poll an interrupt controller would otherwise pay for it at every access. */
  const timers: Timer[] = [
    { irq: 0, device: pit, known: false, due: 0 },
    { irq: 8, device: rtc, known: false, due: 0 },
  ];
  const dueAt = (timer: Timer): number => {
    if (!timer.known) {
      timer.due = timer.device.nextEvent() ?? Number.POSITIVE_INFINITY;
      timer.known = true;
    }
    return timer.due;
  };
  const runEvents = (): void => {
    const now = clock();
    for (const timer of timers) {
      if (now < dueAt(timer)) continue;
      timer.device.tick();
      timer.known = false;
    }
  };
  /** Each access to a timer may change when it is due. */
  const timed = (timer: Timer): Device => ({
    ...itsState(timer.device),
    read: (offset, size) => {
      timer.known = false;
      return timer.device.read(offset, size);
    },
    write: (offset, size, value) => {
      timer.known = false;
      timer.device.write(offset, size, value);
    },
  });
  /** What the guest reads from, or writes to, an interrupt controller must be of this very moment. */
  const upToDate = (device: Device): Device => ({
    ...itsState(device),
    read: (offset, size) => {
      runEvents();
      return device.read(offset, size);
    },
    write: (offset, size, value) => {
      runEvents();
      device.write(offset, size, value);
    },
  });

  const rows: BoardRow[] = [
    { port: 0x020, length: 2, device: upToDate(pic.master) },
    { port: 0x040, length: 4, device: timed(timers[0]), irq: 0 },
    { port: 0x060, length: 1, device: i8042.data },
    { port: 0x061, length: 1, device: new Port61(pit) },
    { port: 0x064, length: 1, device: i8042.command },
    { port: 0x070, length: 2, device: timed(timers[1]), irq: 8 },
    { port: 0x092, length: 1, device: new SystemControlA(onReset) },
    { port: 0x0a0, length: 2, device: upToDate(pic.slave) },
    { port: 0x0e9, length: 1, device: new DebugConsole(options.debugConsole ?? options.console) },
    { port: 0x0f4, length: 4, device: new DebugExit(options.onDebugExit), wide: true },
    { port: 0x3f8, length: 8, device: uart, irq: 4 },

    { port: 0x000, length: 16, absent: 'DMA controller' },
    { port: 0x02e, length: 2, absent: 'Super I/O' },
    { port: 0x04e, length: 2, absent: 'Super I/O' },
    { port: 0x080, length: 16, absent: 'POST code and DMA pages' },
    { port: 0x0c0, length: 32, absent: 'DMA controller' },
    { port: 0x0f0, length: 2, absent: 'math coprocessor' },
    { port: 0x170, length: 8, absent: 'IDE' },
    { port: 0x1f0, length: 8, absent: 'IDE' },
    { port: 0x278, length: 3, absent: 'parallel port' },
    { port: 0x2e8, length: 8, absent: 'COM4' },
    { port: 0x2f8, length: 8, absent: 'COM2' },
    { port: 0x376, length: 1, absent: 'IDE' },
    { port: 0x378, length: 3, absent: 'parallel port' },
    { port: 0x3b0, length: 16, absent: 'monochrome display' },
    { port: 0x3c0, length: 27, absent: 'VGA' },
    { port: 0x3e8, length: 8, absent: 'COM3' },
    { port: 0x3f6, length: 1, absent: 'IDE' },
    { port: 0x4d0, length: 2, absent: 'edge/level control' },
    // A dword here is a PCI address and must not be split: its second byte would land in the reset register.
    { port: 0xcf8, length: 8, absent: 'PCI configuration', wide: true },
    { port: 0xcf9, length: 1, device: new ResetControl(onReset) },
  ];
  const mmioRows: MmioRow[] = [
    { at: 0x000a_0000, length: 0x2_0000, absent: 'VGA' },
    { at: 0xfec0_0000, length: 0x1000, absent: 'I/O APIC' },
    { at: 0xfed0_0000, length: 0x1000, absent: 'HPET' },
    { at: 0xfee0_0000, length: 0x1000, absent: 'local APIC' },
  ];
  const pio = new PioBus(rows);
  const mmio = new MmioBus(mmioRows);
  const devices = [...rows, ...mmioRows].flatMap((row) => ('device' in row ? [row.device] : []));
  return {
    pio,
    mmio,
    pic,
    uart,
    runEvents,
    nextEvent() {
      let next = Number.POSITIVE_INFINITY;
      for (const timer of timers) if (pic.wouldInterrupt(timer.irq)) next = Math.min(next, dueAt(timer));
      return next === Number.POSITIVE_INFINITY ? undefined : next;
    },
    send(bytes) {
      if (bytes.length > 0) input.push(bytes.slice());
      feed();
    },
    pendingInput: () => input.reduce((sum, bytes) => sum + bytes.length, 0) - taken,
    intr: () => pic.intr,
    acknowledge: () => pic.acknowledge(),
    describe: () =>
      rows
        .map((row) => ({
          first: row.port,
          last: row.port + row.length - 1,
          name: 'device' in row ? row.device.name : row.absent,
          irq: row.irq,
          present: 'device' in row,
        }))
        .sort((a, b) => a.first - b.first || b.last - a.last),
    absentAccesses: () => ({ ports: pio.absentAccesses(), memory: mmio.absentAccesses() }),
    devices: () => devices,
    save() {
      const waiting = input.map((bytes, i) => bytes.subarray(i === 0 ? taken : 0));
      return {
        devices: Object.fromEntries(devices.flatMap(stateOf)),
        cascade: pic.save(),
        input: Uint8Array.from(waiting.flatMap((bytes) => [...bytes])),
        ports: pio.save(),
        memory: mmio.save(),
      };
    },
    restore(saved, where) {
      const shape = { devices: anything, cascade: anything, input: bytes(), ports: anything, memory: anything };
      const state = record(shape)(saved, where);
      const stateful = devices.filter(({ stateless }) => !stateless);
      const ofDevices = record(Object.fromEntries(stateful.map(({ name }) => [name, anything])));
      const states = ofDevices(state.devices, `${where}.devices`);
      for (const device of stateful) device.restore?.(states[device.name], `${where}.${device.name}`);
      pic.restore(state.cascade, `${where}.cascade`);
      pio.restore(state.ports, `${where}.ports`);
      mmio.restore(state.memory, `${where}.memory`);
      input.length = 0;
      taken = 0;
      if (state.input.length > 0) input.push(state.input.slice());
      for (const timer of timers) timer.known = false;
    },
  };
}

/** What stands before a device passes its state on. */
function itsState(device: Device): Pick<Device, 'name' | 'stateless' | 'save' | 'restore'> {
  const { name, stateless } = device;
  return {
    name,
    ...(stateless && { stateless }),
    ...(device.save && { save: () => device.save?.() }),
    ...(device.restore && { restore: (saved, where) => device.restore?.(saved, where) }),
  };
}

/** A device as an entry of the saved devices; none when it has no state. */
function stateOf(device: Device): [string, Saved][] {
  if (device.stateless) return [];
  if (device.save && device.restore) return [[device.name, device.save()]];
  throw new BootError({
    what: `a snapshot of ${device.name} is not built yet`,
    where: 'the board of the machine',
    why: 'this device has state and does not say it',
    fix: 'run without --save-state',
  });
}
