/** The keyboard controller, for the one thing kernels without a keyboard want of it: pulse the CPU's reset line.
 *
 * Nothing else of it exists, and a probe finds that out quickly: its output buffer never runs empty (status bit 0
 * stays set), so Linux's i8042_flush gives up after 16 reads and reports that there is no controller. All other bits
 * float high as well but one: bit 1, "input buffer full", is clear, because commands are taken at once. Were it set,
 * the usual reboot loops (`while (inb(0x64) & 2);`, Linux's kb_wait) would wait 131 ms or for ever before they pulse.
 * Follows: IBM PC/AT Technical Reference, 8042 commands F0-FF (bit 0 low pulses the reset line).
 * Next: devices/debug-exit.ts. */
import type { Device } from './device.ts';

const STATUS_BUT_INPUT_FULL = 0xfd;

/** The data port and the command port lie four apart, so each is a device of its own. */
export class I8042 {
  readonly data: Device = { name: 'i8042 data', stateless: true, read: () => 0xff, write: () => {} };
  readonly command: Device;

  constructor(onReset: (how: string) => void) {
    this.command = {
      name: 'i8042 command',
      stateless: true,
      read: () => STATUS_BUT_INPUT_FULL,
      // F0-FF pulse the output lines whose bit is 0; line 0 is the reset line.
      write: (_offset, _size, value) => {
        if ((value & 0xf1) === 0xf0) onReset(`i8042 command 0x${(value & 0xff).toString(16)}`);
      },
    };
  }
}
