/** The 8259A pair by its data sheet (Intel 231468; headings in quotes) and by Linux's use of it
 * (arch/x86/kernel/i8259.c: probe_8259A, init_8259A, mask_and_ack_8259A). */
import { beforeEach, describe, expect, it } from 'vitest';
import { UnbuiltDeviceFunction } from '../../src/devices/device.ts';
import { I8259Pair } from '../../src/devices/i8259.ts';
import { inb, outb } from './machine-clock.ts';

let pic: I8259Pair;

/** As Linux does it: vectors 0x30 and 0x38, cascade on 2, 8086 mode; then everything unmasked. */
function initialise({ icw1 = 0x11, icw4 = 0x01, mask = 0 } = {}): void {
  for (const [chip, base, cascade] of [
    [pic.master, 0x30, 4],
    [pic.slave, 0x38, 2],
  ] as const) {
    outb(chip, 0, icw1);
    outb(chip, 1, base);
    outb(chip, 1, cascade);
    outb(chip, 1, icw4);
    outb(chip, 1, mask);
  }
}

const raise = (...irqs: number[]) => {
  for (const irq of irqs) pic.line(irq)(true);
};
const drop = (...irqs: number[]) => {
  for (const irq of irqs) pic.line(irq)(false);
};
const eoi = (irq: number) => {
  if (irq >= 8) outb(pic.slave, 0, 0x60 | (irq & 7));
  outb(pic.master, 0, 0x60 | (irq >= 8 ? 2 : irq));
};
/** Vectors of all requests that get through one after another, without EOI. */
const nested = (): number[] => {
  const vectors: number[] = [];
  while (pic.intr) vectors.push(pic.acknowledge());
  return vectors;
};
/** The same, each one ended before the next. */
const served = (end: (vector: number) => void): number[] => {
  const vectors: number[] = [];
  while (pic.intr) {
    const vector = pic.acknowledge();
    vectors.push(vector);
    end(vector);
  }
  return vectors;
};

beforeEach(() => {
  pic = new I8259Pair();
});

describe('before and during initialisation', () => {
  it('lets nothing through before anybody has programmed it', () => {
    raise(0, 4, 8);
    expect(pic.intr).toBe(false);
    expect([inb(pic.master, 1), inb(pic.slave, 1)]).toEqual([0xff, 0xff]);
  });

  it("keeps the mask that Linux's probe writes to see whether there is a chip", () => {
    outb(pic.slave, 1, 0xff);
    outb(pic.master, 1, 0xfb);
    expect(inb(pic.master, 1)).toBe(0xfb);
  });

  it('clears mask, requests and modes on ICW1 and answers nothing before the last ICW ("Initialization Command Words")', () => {
    initialise({ mask: 0x55 });
    raise(1);
    outb(pic.master, 0, 0x11);
    raise(3);
    expect(pic.intr).toBe(false);
    outb(pic.master, 1, 0x40);
    outb(pic.master, 1, 0x04);
    expect(pic.intr).toBe(false);
    outb(pic.master, 1, 0x01);
    expect(inb(pic.master, 1)).toBe(0);
    expect(nested()).toEqual([0x43]); // IRQ 1 was forgotten: its wire has to rise again
  });

  it('skips ICW3 when single and ICW4 when ICW1 does not announce it', () => {
    outb(pic.master, 0, 0x12); // single, no ICW4
    outb(pic.master, 1, 0x50);
    outb(pic.master, 1, 0xa5); // already OCW1
    expect(inb(pic.master, 1)).toBe(0xa5);
  });

  it('names 8080 mode when an interrupt would need it', () => {
    initialise({ icw4: 0x00 });
    raise(1);
    expect(() => pic.acknowledge()).toThrow(UnbuiltDeviceFunction);
  });

  it('uses only the top five bits of ICW2 in 8086 mode', () => {
    initialise();
    outb(pic.master, 0, 0x11);
    for (const icw of [0x67, 0x04, 0x01]) outb(pic.master, 1, icw);
    raise(5);
    expect(pic.acknowledge()).toBe(0x65);
  });
});

describe('priority', () => {
  beforeEach(() => initialise());

  const order = [
    // raised together, vectors as they nest (fully nested: only better ones interrupt), all after EOI of each
    [[0], [0x30], [0x30]],
    [[7, 0, 3], [0x30], [0x30, 0x33, 0x37]],
    [[15, 8], [0x38], [0x38, 0x3f]],
    [[1, 8, 3], [0x31], [0x31, 0x38, 0x33]],
    [[4, 12], [0x3c], [0x3c, 0x34]], // the slave enters at level 2
  ] as const;
  it.each(order)('requests %j together nest as %j and are served as %j', (irqs, asNested, asServed) => {
    raise(...irqs);
    expect(nested()).toEqual(asNested);
    initialise();
    drop(...irqs);
    raise(...irqs);
    expect(served((vector) => eoi(vector - 0x30))).toEqual(asServed);
  });

  it('lets a better request interrupt a service, but no equal or worse one ("Fully Nested Mode")', () => {
    raise(4);
    expect(pic.acknowledge()).toBe(0x34);
    raise(6);
    expect(pic.intr).toBe(false);
    raise(1);
    expect(pic.acknowledge()).toBe(0x31);
    outb(pic.master, 0, 0x20); // ends 1, the highest in service
    expect(pic.intr).toBe(false);
    outb(pic.master, 0, 0x20); // ends 4
    expect(pic.acknowledge()).toBe(0x36);
  });

  it('a second slave request waits for the EOI to both chips, unless special fully nested mode is on', () => {
    raise(12);
    expect(pic.acknowledge()).toBe(0x3c);
    raise(9);
    expect(pic.intr).toBe(false);
    outb(pic.master, 0, 0x62);
    expect(pic.intr).toBe(true);
    initialise({ icw4: 0x11 });
    drop(9, 12);
    raise(12);
    expect(pic.acknowledge()).toBe(0x3c);
    raise(9);
    expect(pic.acknowledge()).toBe(0x39);
  });

  it('holds back what is masked and lets it come when the mask opens ("Interrupt Mask Register")', () => {
    outb(pic.master, 1, 0x02);
    raise(1);
    expect(pic.intr).toBe(false);
    expect(inb(pic.master, 0)).toBe(0x02); // IRR shows it
    outb(pic.master, 1, 0);
    expect(pic.acknowledge()).toBe(0x31);
  });

  it('in special mask mode a masked level in service blocks nothing ("Special Mask Mode")', () => {
    raise(2 + 1);
    pic.acknowledge();
    raise(6);
    outb(pic.master, 1, 0x08);
    expect(pic.intr).toBe(false);
    outb(pic.master, 0, 0x68);
    expect(pic.acknowledge()).toBe(0x36);
    outb(pic.master, 0, 0x20); // does not reach the masked 3
    outb(pic.master, 0, 0x0b);
    expect(inb(pic.master, 0)).toBe(0x08);
    outb(pic.master, 0, 0x48); // mode off
    raise(7);
    expect(pic.intr).toBe(false);
  });

  const rotations = [
    // OCW2 while 4 is in service, highest level afterwards ("Automatic Rotation", "Specific Rotation")
    [0xa0, 5], // rotate on non-specific EOI: 4 becomes lowest
    [0xe4, 5], // rotate on specific EOI of 4
    [0xe2, 3], // rotate on specific EOI of 2, which is not in service
    [0xc6, 7], // set priority: 6 lowest, no EOI
    [0x20, 0], // plain EOI: nothing rotates
    [0x40, 0], // no operation
  ] as const;
  it.each(rotations)('after OCW2 %i level %i is the highest', (ocw2, highest) => {
    raise(4);
    pic.acknowledge();
    outb(pic.master, 0, ocw2);
    outb(pic.master, 0, 0x64); // nothing is in service any more
    for (const irq of [0, 1, 3, 4, 5, 6, 7]) {
      drop(irq);
      raise(irq);
    }
    expect(pic.acknowledge()).toBe(0x30 + highest);
  });

  it('rotates on automatic EOI when told so', () => {
    initialise({ icw4: 0x03 });
    outb(pic.master, 0, 0x80);
    raise(1, 3, 5);
    expect(nested()).toEqual([0x31, 0x33, 0x35]);
    drop(1, 3, 5);
    raise(1, 3, 6);
    expect(nested()).toEqual([0x36, 0x31, 0x33]); // 5 was served last and is lowest now
    outb(pic.master, 0, 0x00);
    drop(1, 6);
    raise(6, 1);
    expect(nested()).toEqual([0x36, 0x31]);
  });
});

describe('end of interrupt', () => {
  it('with automatic EOI leaves nothing in service, on both chips', () => {
    initialise({ icw4: 0x03 });
    raise(3, 9, 10);
    expect(nested()).toEqual([0x39, 0x3a, 0x33]);
    for (const chip of [pic.master, pic.slave]) {
      outb(chip, 0, 0x0b);
      expect(inb(chip, 0)).toBe(0);
    }
  });

  it('shows IRR or ISR as OCW3 chose, until it chooses again ("Reading the 8259A Status")', () => {
    initialise();
    raise(1, 5);
    pic.acknowledge();
    expect(inb(pic.master, 0)).toBe(0x20);
    outb(pic.master, 0, 0x0b);
    expect([inb(pic.master, 0), inb(pic.master, 0)]).toEqual([0x02, 0x02]);
    outb(pic.master, 0, 0x08); // neither
    expect(inb(pic.master, 0)).toBe(0x02);
    outb(pic.master, 0, 0x0a);
    expect(inb(pic.master, 0)).toBe(0x20);
  });

  it("serves an interrupt as Linux's mask_and_ack and unmask do", () => {
    initialise({ mask: 0xff });
    outb(pic.master, 1, 0xfa);
    outb(pic.slave, 1, 0xfe);
    raise(8);
    expect(pic.acknowledge()).toBe(0x38);
    outb(pic.slave, 1, 0xff);
    outb(pic.slave, 0, 0x60);
    outb(pic.master, 0, 0x62);
    drop(8);
    raise(8);
    expect(pic.intr).toBe(false);
    outb(pic.slave, 1, 0xfe);
    expect(pic.acknowledge()).toBe(0x38);
  });
});

describe('edges, levels and what gets lost', () => {
  it('in edge mode a wire that stays high asks once', () => {
    initialise();
    raise(4);
    pic.acknowledge();
    eoi(4);
    expect(pic.intr).toBe(false);
    drop(4);
    raise(4);
    expect(pic.intr).toBe(true);
  });

  it('in level mode a wire that stays high asks again after the EOI (ICW1 LTIM)', () => {
    initialise({ icw1: 0x19 });
    raise(4);
    pic.acknowledge();
    expect(pic.intr).toBe(false);
    eoi(4);
    expect(pic.intr).toBe(true);
    drop(4);
    expect(pic.intr).toBe(false);
  });

  it('a request whose wire drops is withdrawn, and the acknowledge that comes too late gets level 7, not in service', () => {
    initialise();
    raise(3);
    drop(3);
    expect(pic.intr).toBe(false);
    expect(pic.acknowledge()).toBe(0x37);
    outb(pic.master, 0, 0x0b);
    expect(inb(pic.master, 0)).toBe(0); // how Linux tells a spurious 7 from a real one
  });

  it('a slave request that is withdrawn takes the cascade request along; the late acknowledge is level 7', () => {
    initialise();
    raise(9);
    expect(inb(pic.master, 0)).toBe(0x04);
    outb(pic.slave, 1, 0xff); // masking it makes the slave's output fall
    expect(inb(pic.master, 0)).toBe(0);
    expect(pic.acknowledge()).toBe(0x37);
    outb(pic.slave, 1, 0);
    expect(pic.acknowledge()).toBe(0x39);
  });
});

describe('poll command ("Poll Command")', () => {
  beforeEach(() => initialise());

  it('acknowledges on the next read, at either address', () => {
    for (const address of [0, 1]) {
      drop(6);
      raise(6);
      outb(pic.master, 0, 0x0c);
      expect(inb(pic.master, address)).toBe(0x86);
      expect(pic.intr).toBe(false);
      eoi(6);
    }
  });

  it('goes before the status that the same word chooses, which the read after it shows', () => {
    raise(6);
    outb(pic.master, 0, 0x0f); // poll, and read ISR
    expect([inb(pic.master, 0), inb(pic.master, 0)]).toEqual([0x86, 0x40]);
  });

  it('answers with bit 7 clear when nothing asks', () => {
    outb(pic.master, 0, 0x0c);
    expect(inb(pic.master, 0) & 0x80).toBe(0);
    expect(inb(pic.master, 1)).toBe(0); // IMR again
  });
});

describe('wouldInterrupt', () => {
  const cases = [
    // master IMR, slave IMR, in service, irq, answer
    [0x00, 0x00, undefined, 0, true],
    [0x01, 0x00, undefined, 0, false],
    [0x00, 0x01, undefined, 8, false],
    [0x04, 0x00, undefined, 8, false],
    [0x00, 0x00, 1, 0, true],
    [0x00, 0x00, 1, 8, false],
    [0x00, 0x00, 4, 8, true],
    [0x00, 0x00, 0, 0, false],
  ] as const;
  it.each(cases)('masks %i and %i, in service %s: IRQ %i → %s', (master, slave, inService, irq, answer) => {
    initialise();
    if (inService !== undefined) {
      raise(inService);
      pic.acknowledge();
      drop(inService);
    }
    outb(pic.master, 1, master);
    outb(pic.slave, 1, slave);
    expect(pic.wouldInterrupt(irq)).toBe(answer);
    raise(irq);
    expect(pic.intr).toBe(answer);
  });
});
