/** trace.dat, the file that trace-cmd records and KernelShark opens: binary, with pages as the kernel's ring buffer has them.
 *
 * Functions are events of the function tracer, everything else (waypoints, what the guest did to its machine, console
 * lines) is text as trace_printk leaves it. One CPU, one task: which task ran is not recorded. Names come along as the
 * file's own kallsyms, so it is complete.
 * Follows: trace-cmd.dat.v6(5), and the kernel's include/linux/ring_buffer.h for pages.   Next: trace/formats/drcov.ts. */
import type { RunRecord } from '../run-record.ts';
import { eventText, oneLine } from './ftrace.ts';
import { clockOf, functionCounts, type Happening, type TraceExtras, timeline } from './timeline.ts';

const PAGE = 4096;
const PAGE_HEADER = 16;
const FUNCTION = 1;
const PRINT = 5;
/** type_len of an event whose time does not fit into 27 bits. */
const TIME_EXTEND = 30;
const DELTA_BITS = 27;
/** Longest data that type_len can say. */
const SHORT = 112;
const LONGEST_TEXT = 1000;

const COMMON = `	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;
`;
const HEADER_PAGE = `	field: u64 timestamp;	offset:0;	size:8;	signed:0;
	field: local_t commit;	offset:8;	size:8;	signed:1;
	field: int overwrite;	offset:8;	size:1;	signed:1;
	field: char data;	offset:16;	size:4080;	signed:1;
`;
const HEADER_EVENT = `# compressed entry header
	type_len    :    5 bits
	time_delta  :   27 bits
	array       :   32 bits

	padding     : type == 29
	time_extend : type == 30
	time_stamp : type == 31
	data max type_len  == 28
`;
const FORMATS = [
  `name: function
ID: ${FUNCTION}
format:
${COMMON}
	field:unsigned long ip;	offset:8;	size:8;	signed:0;
	field:unsigned long parent_ip;	offset:16;	size:8;	signed:0;

print fmt: " %ps <-- %ps", (void *)REC->ip, (void *)REC->parent_ip
`,
  `name: print
ID: ${PRINT}
format:
${COMMON}
	field:unsigned long ip;	offset:8;	size:8;	signed:0;
	field:char buf[];	offset:16;	size:0;	signed:0;

print fmt: "%ps: %s", (void *)REC->ip, REC->buf
`,
];

export function* traceDatPieces(record: RunRecord, extras: TraceExtras = {}): Generator<Uint8Array> {
  const rows = functionCounts(record, extras);
  const addresses = new Map(rows.map(({ name, address }) => [name, address]));
  const kallsyms = rows.map(({ name, address }) => `${address.toString(16).padStart(16, '0')} T ${name}\n`).join('');
  const pages = [...ringPages(record, extras, (place) => addressOf(place, addresses))];
  const head = concat([
    Uint8Array.of(0x17, 0x08, 0x44),
    text('tracing6\0'),
    Uint8Array.of(0, 8), // little-endian, long has 8 bytes
    u32(PAGE),
    ...[text('header_page\0'), u64(HEADER_PAGE.length), text(HEADER_PAGE)],
    ...[text('header_event\0'), u64(HEADER_EVENT.length), text(HEADER_EVENT)],
    u32(FORMATS.length),
    ...FORMATS.flatMap((format) => [u64(format.length), text(format)]),
    u32(0), // no other event systems
    ...sized(text(kallsyms), u32),
    ...sized(text(''), u32), // no printk formats: print events have their text with them
    ...sized(text('0 <...>\n'), u64),
    u32(1),
    ...[text('options  \0'), Uint8Array.of(0, 0), text('flyrecord\0')],
  ]);
  const start = Math.ceil((head.length + 16) / PAGE) * PAGE;
  yield concat([head, u64(start), u64(pages.length * PAGE), new Uint8Array(start - head.length - 16)]);
  yield* pages;
}

function* ringPages(record: RunRecord, extras: TraceExtras, address: (place: string | undefined) => bigint) {
  const time = clockOf(record);
  let page = new Uint8Array(PAGE);
  let used = PAGE_HEADER;
  let last = 0;
  const close = () => {
    new DataView(page.buffer).setBigUint64(8, BigInt(used - PAGE_HEADER), true);
    return page;
  };
  for (const happening of timeline(record, extras)) {
    const now = Math.round(time(happening.at));
    const data = dataOf(happening, address);
    if (used + 12 + data.length > PAGE) {
      yield close();
      page = new Uint8Array(PAGE);
      used = PAGE_HEADER;
    }
    const view = new DataView(page.buffer);
    if (used === PAGE_HEADER) {
      view.setBigUint64(0, BigInt(now), true);
      last = now;
    }
    let delta = now - last;
    last = now;
    if (delta >= 2 ** DELTA_BITS) {
      view.setUint32(used, ((delta % 2 ** DELTA_BITS) * 32 + TIME_EXTEND) >>> 0, true);
      view.setUint32(used + 4, Math.floor(delta / 2 ** DELTA_BITS), true);
      used += 8;
      delta = 0;
    }
    const isShort = data.length <= SHORT;
    view.setUint32(used, (delta * 32 + (isShort ? data.length / 4 : 0)) >>> 0, true);
    used += 4;
    if (!isShort) {
      view.setUint32(used, data.length + 4, true);
      used += 4;
    }
    page.set(data, used);
    used += data.length;
  }
  if (used > PAGE_HEADER) yield close();
}

function dataOf(happening: Happening, address: (place: string | undefined) => bigint): Uint8Array {
  if (happening.type === 'function') {
    const { address: ip, caller } = happening.run;
    return concat([u32(FUNCTION), u32(0), u64(BigInt(ip)), u64(address(caller))]);
  }
  const [ip, words] = wordsOf(happening);
  const bytes = text(oneLine(words)).subarray(0, LONGEST_TEXT);
  const padded = new Uint8Array(Math.ceil((bytes.length + 2) / 4) * 4);
  padded.set(bytes);
  padded[bytes.length] = 0x0a; // as trace_printk's callers end their lines
  return concat([u32(PRINT), u32(0), u64(ip), padded]);
}

function wordsOf(happening: Exclude<Happening, { type: 'function' }>): [ip: bigint, words: string] {
  if (happening.type === 'event') return [BigInt(happening.event.rip), eventText(happening.event)];
  if (happening.type === 'console') return [0n, `console: ${happening.text}`];
  const { name, state } = happening.waypoint;
  return [BigInt(state.registers.rip ?? 0), `waypoint ${name}`];
}

/** "start_kernel+0x15", or a number; 0 when nobody knows. */
function addressOf(place: string | undefined, addresses: ReadonlyMap<string, bigint>): bigint {
  if (place === undefined) return 0n;
  if (/^0x[0-9a-f]+$/.test(place)) return BigInt(place);
  const [name, offset = '0x0'] = place.split('+');
  const address = addresses.get(name);
  return address === undefined ? 0n : address + BigInt(offset);
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const sized = (bytes: Uint8Array, size: (length: number) => Uint8Array) => [size(bytes.length), bytes];
const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
const u64 = (value: number | bigint): Uint8Array => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
