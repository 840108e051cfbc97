/** The two pages over which a domain talks with its toolstack: console and xenstore.
 *
 * Each has a ring in either direction. Indices run freely and are taken modulo the ring's size; whoever produces moves
 * `prod`, whoever consumes moves `cons`, and both tell the other side by the event channel in start_info.
 * Follows: Xen xen/include/public/io/console.h and xs_wire.h.   Next: layout/xen/hvm.ts. */
import { bytes, struct, u8, u32 } from '../struct.ts';

/** Values of `connection` in both pages. */
export const RING_CONNECTED = 0;
export const RING_DISCONNECTED = 1;

export const XenconsInterface = struct('xencons_interface', { from: 'xen/include/public/io/console.h', size: 0xc14, reserved: [[0xc11, 3]] }, {
  in:         bytes(0x000, 1024, 'keys'),
  out:        bytes(0x400, 2048, 'text'),
  in_cons:    u32(0xc00),
  in_prod:    u32(0xc04),
  out_cons:   u32(0xc08),
  out_prod:   u32(0xc0c),
  connection: u8(0xc10, { values: { 0: 'connected', 1: 'disconnected' } }),
}); // biome-ignore format: a table

export const XenstoreDomainInterface = struct('xenstore_domain_interface', { from: 'xen/include/public/io/xs_wire.h', size: 0x81c }, {
  req:             bytes(0x000, 1024, 'requests'),
  rsp:             bytes(0x400, 1024, 'replies and watch events'),
  req_cons:        u32(0x800),
  req_prod:        u32(0x804),
  rsp_cons:        u32(0x808),
  rsp_prod:        u32(0x80c),
  server_features: u32(0x810),
  connection:      u32(0x814),
  error:           u32(0x818),
}); // biome-ignore format: a table

/** Before each request and reply. */
export const XsdSockmsg = struct('xsd_sockmsg', { from: 'xen/include/public/io/xs_wire.h', size: 0x10 }, {
  type:   u32(0),
  req_id: u32(4),
  tx_id:  u32(8),
  len:    u32(0xc, 'of what follows'),
}); // biome-ignore format: a table

/** enum xsd_sockmsg_type. */
export const XS_TYPE = {
  CONTROL: 0, DIRECTORY: 1, READ: 2, GET_PERMS: 3, WATCH: 4, UNWATCH: 5, TRANSACTION_START: 6, TRANSACTION_END: 7,
  INTRODUCE: 8, RELEASE: 9, GET_DOMAIN_PATH: 10, WRITE: 11, MKDIR: 12, RM: 13, SET_PERMS: 14, WATCH_EVENT: 15,
  ERROR: 16, IS_DOMAIN_INTRODUCED: 17, RESUME: 18, SET_TARGET: 19, RESET_WATCHES: 21, DIRECTORY_PART: 22,
} as const; // biome-ignore format: a table

/** Values of the store page's `error`. */
export const XS_ERROR = { NONE: 0, COMM: 1, RINGIDX: 2, PROTO: 3 } as const;
