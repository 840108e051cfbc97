/** The tables against the figures of Xen's headers, as compiled for both word sizes, and against the headers themselves
 * where this machine has them. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Fields, Struct } from '../../../src/layout/struct.ts';
import * as addresses from '../../../src/layout/xen/addresses.ts';
import * as events from '../../../src/layout/xen/event-arguments.ts';
import * as memory from '../../../src/layout/xen/memory-arguments.ts';
import * as rings from '../../../src/layout/xen/rings.ts';
import * as shared from '../../../src/layout/xen/shared-info.ts';
import * as start from '../../../src/layout/xen/start-info.ts';

type Table = Struct<Fields>;
const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && 'staticAsserts' in value;
const all = Object.entries({ ...start, ...shared, ...memory, ...events, ...rings }).filter(([, value]) => isTable(value)) as [string, Table][]; // biome-ignore format: one line
/** Both widths where a table has no 32-bit sister. */
const of32 = all.filter(([name]) => !all.some(([other]) => other === `${name}32`));
const of64 = all.filter(([name]) => !name.endsWith('32'));

// Struct, size, and some offsets: 64-bit, then 32-bit.
const cases: [Table, number, Record<string, number>][] = [
  [start.StartInfo as never, 0x490, { nr_pages: 0x20, flags: 0x30, store_evtchn: 0x40, pt_base: 0x58, mod_len: 0x78, cmd_line: 0x80, nr_p2m_frames: 0x488 }],
  [start.StartInfo32 as never, 0x458, { nr_pages: 0x20, flags: 0x28, store_evtchn: 0x30, pt_base: 0x3c, mod_len: 0x4c, cmd_line: 0x50, nr_p2m_frames: 0x454 }],
  [shared.SharedInfo as never, 0xc40, { vcpu_info: 0, evtchn_pending: 0x800, evtchn_mask: 0xa00, wc_version: 0xc00, wc_sec_hi: 0xc0c, arch: 0xc10 }],
  [shared.SharedInfo32 as never, 0x928, { evtchn_pending: 0x800, evtchn_mask: 0x880, wc_version: 0x900, arch: 0x90c }],
  [shared.VcpuInfo as never, 0x40, { evtchn_upcall_mask: 1, evtchn_pending_sel: 8, 'arch.cr2': 0x10, time: 0x20 }],
  [shared.VcpuInfo32 as never, 0x40, { evtchn_pending_sel: 4, 'arch.cr2': 8, time: 0x20 }],
  [shared.VcpuTimeInfo as never, 0x20, { tsc_timestamp: 8, system_time: 0x10, tsc_to_system_mul: 0x18, tsc_shift: 0x1c, flags: 0x1d }],
  [shared.VcpuRunstateInfo as never, 0x30, { state_entry_time: 8, time: 0x10 }],
  [shared.VcpuRunstateInfo32 as never, 0x2c, { state_entry_time: 4, time: 0xc }],
  [memory.TrapInfo as never, 0x10, { cs: 2, address: 8 }],
  [memory.TrapInfo32 as never, 8, { address: 4 }],
  [memory.MmuextOp as never, 0x18, { 'arg1.mfn': 8, 'arg2.src_mfn': 0x10 }],
  [memory.MulticallEntry as never, 0x40, { result: 8, args: 0x10 }],
  [memory.XenMemoryReservation32 as never, 0x14, { nr_extents: 4, domid: 0x10 }],
  [events.SchedPoll as never, 0x18, { timeout: 0x10 }],
  [events.GnttabSetupTable as never, 0x18, { status: 8, frame_list: 0x10 }],
  [rings.XenconsInterface as never, 0xc14, { out: 0x400, in_cons: 0xc00, connection: 0xc10 }],
]; // biome-ignore format: a table

const folder = '/usr/include/xen';
const compiler = spawnSync('gcc', ['--version']).status === 0 && existsSync(`${folder}/xen.h`);
/** What older headers do not have. */
const inHeaders = ([name]: [string, Table]) =>
  name !== 'XenconsInterface' || readFileSync(`${folder}/io/console.h`, 'utf8').includes('connection');

function compile(width: '-m32' | '-m64', tables: [string, Table][], change = (source: string) => source) {
  const headers = ['xen', 'callback', 'memory', 'version', 'event_channel', 'sched', 'vcpu', 'grant_table', 'physdev', 'io/console', 'io/xs_wire']; // biome-ignore format: one line
  const source = [
    '#include <stdint.h>\n#include <stddef.h>',
    ...headers.map((name) => `#include <xen/${name}.h>`),
    ...tables.map(([, table]) => table.staticAsserts()),
  ].join('\n');
  const options = [width, '-ffreestanding', '-D__XEN_INTERFACE_VERSION__=0x00040e00', '-fsyntax-only', '-x', 'c', '-'];
  return spawnSync('gcc', options, { input: change(source), encoding: 'utf8' });
}

describe('the tables of Xen PV', () => {
  it.each(cases)('%o has the size and offsets of the header', (table, size, offsets) => {
    expect(table.size).toBe(size);
    const found = Object.fromEntries(Object.keys(offsets).map((name) => [name, table.offsetOf(name)]));
    expect(found).toEqual(offsets);
  });

  it('are all found by this test', () => {
    expect(of64.length).toBeGreaterThan(40);
    expect(of32.length).toBe(of64.length);
  });

  const skipped = compiler ? '' : ' (skipped: gcc or libxen-dev is absent)';
  it.skipIf(!compiler)(`agree with Xen’s C headers in both widths${skipped}`, () => {
    for (const [width, tables] of [
      ['-m64', of64],
      ['-m32', of32],
    ] as const) {
      const { stderr, status } = compile(width, tables.filter(inHeaders));
      expect(stderr, width).toBe('');
      expect(status, width).toBe(0);
    }
    const broken = compile('-m64', of64.filter(inHeaders), (source) =>
      source.replace('pt_base) == 0x58', 'pt_base) == 0x60'),
    );
    expect(broken.stderr).toContain('start_info.pt_base');
  });

  it('put Xen’s own addresses into its root slots, and its descriptors behind the guest’s', () => {
    const slot = (address: bigint) => Number((address >> 39n) & 511n);
    expect(slot(addresses.M2P_VIRT_START)).toBe(addresses.M2P_ROOT_SLOT);
    expect(slot(addresses.GDT_VIRT_START)).toBe(addresses.GDT_ROOT_SLOT);
    expect([slot(addresses.XEN_AREA.start), slot(addresses.XEN_AREA.end) - 1]).toEqual(
      Object.values(addresses.XEN_ROOT_SLOTS),
    );
    for (const [selector] of addresses.XEN_GDT_DESCRIPTORS) {
      expect(selector).toBeGreaterThanOrEqual(addresses.XEN_GDT_OFFSET);
      expect(selector).toBeLessThan(addresses.GDT_LIMIT);
    }
  });
});
