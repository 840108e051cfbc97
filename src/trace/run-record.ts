/** RunRecord: what one run through one entry path was, as data. Made by the machine, judged by compare, kept as a baseline,
 * written in other tools' formats.
 *
 * Times are instruction counts, addresses and 64-bit values are strings (0x and lower-case digits), and nothing in it
 * depends on the computer: two runs of one input give the same record, byte for byte, when it is written with `recordJson`.
 * May not: hold anything that only means something in this process.   Next: trace/formats/timeline.ts. */

/** Rises when a field changes its meaning or goes away. */
export const RECORD_SCHEMA = 1;

export type RunRecord = {
  schema: typeof RECORD_SCHEMA;
  via: string;
  kernel: {
    name: string;
    version: string | undefined;
    sha256: string;
    /** Where names come from. */
    symbols: 'symtab' | 'kallsyms' | 'file' | 'none';
    /** A kernel that unpacked itself and was entered after `at` instructions: how far above its linked place it runs.
     * Functions have linked addresses, everything else those of the running kernel. */
    moved?: { virtual: string; physical: string; at: number };
  };
  input: { cmdline: string; memory: number; initrdBytes: number };
  /** Of a machine from a snapshot: instructions that it had run by then. The record begins there, and knows nothing of
   * what was before; times count from the machine's beginning. */
  restoredAfter?: number;
  bootParamsFilledBy: 'loader' | 'guest' | 'nobody';
  exit: { reason: string; code: number; detail: string };
  instructions: number;
  virtualTimeNs: number;
  /** Time that passed without instructions, by time: `at` were completed before it. Records of early versions lack it. */
  sleeps?: { at: number; ns: number }[];
  /** By time. The first is `entry`, before the first instruction; the last is `end`. A name comes once: the first
   * arrival counts. */
  waypoints: Waypoint[];
  /** Functions that were entered, by their first entry. */
  functions: FunctionRun[];
  /** By time. */
  events: EventRun[];
  /** Events that were too many to keep. */
  eventsDropped: number;
  console: string;
};

export type FunctionRun = {
  name: string;
  /** As it is linked. */
  address: string;
  /** Instructions completed before its first entry. */
  first: number;
  /** Who called it first, as "xen_start_kernel+0x15"; undefined when it was no call. */
  caller: string | undefined;
  /** Entries in all. */
  count: number;
  /** Entries before each waypoint of the record, by the waypoint's index. */
  counts: number[];
};

export type EventRun = {
  kind: string;
  at: number;
  rip: string;
  /** The same by name: "native_write_cr4+0x3". */
  where: string | undefined;
  number: number;
  /** What `number` means: "CR4", "MSR_EFER", "port 0x21", "#PF", "mmu_update". */
  what: string;
  values: string[];
};

export type Waypoint = {
  /** A symbol, an address, `entry` or `end`. */
  name: string;
  /** Instructions completed before it. */
  at: number;
  ns: number;
  state: StateRecord;
};

export type StateRecord = {
  cpl: number;
  mode: '16-bit' | '32-bit' | '64-bit';
  /** rax to r15, rip, rflags. */
  registers: Record<string, string>;
  /** cr0, cr2, cr3, cr4, cr8, efer. */
  control: Record<string, string>;
  /** By name: GS_BASE, FS_BASE, STAR, LSTAR, PAT, ... */
  msrs: Record<string, string>;
  /** es to gs, ldtr, tr: selector, base, limit, attributes in one line. */
  segments: Record<string, string>;
  tables: {
    gdtr: string;
    idtr: string;
    /** Entries that are not null, by index: what the descriptor says in words. */
    gdt: Record<string, string>;
    /** Present gates by vector, or the traps registered with a hypervisor: handler's name or address, kind, DPL. */
    idt: Record<string, string>;
  };
  /** Kind and root of paging, and what is mapped: runs of linear addresses with equal rights. */
  paging: { kind: string; root: string; mapped: { from: string; to: string; rights: string }[] };
  /** Named objects of the guest's memory: variables, boot_params, pointer tables. */
  objects: ObjectRecord[];
};

export type ObjectRecord = {
  /** The symbol, or a name of ours: `boot_params` also where the guest has no symbol for it. */
  name: string;
  address: string;
  /** The C type, when it is known; without one, fields are words of raw memory, and said to be so. */
  type: string | undefined;
  fields: {
    path: string;
    value: string /** the value as a symbol, when it is the address of one */;
    symbol?: string;
  }[];
};

/** The record as text, keys in the order of the type, one waypoint, function or event to a line. */
export function recordJson(record: RunRecord): string {
  const lines = (items: readonly unknown[]) =>
    items.length === 0 ? '[]' : `[\n    ${items.map((item) => JSON.stringify(item)).join(',\n    ')}\n  ]`;
  const entries = Object.entries(record).filter(([, value]) => value !== undefined);
  const body = entries.map(([key, value]) => {
    const text = Array.isArray(value) ? lines(value) : JSON.stringify(value);
    return `  ${JSON.stringify(key)}: ${text}`;
  });
  return `{\n${body.join(',\n')}\n}\n`;
}
