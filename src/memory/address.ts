/** Addresses of two kinds that must not be mixed up: guest physical and guest virtual.
 *
 * A Gpa is a number (at most 52 bits, so exact in a double); a Gva is a bigint, because the upper half of a 64-bit
 * address space (0xffffffff81000000) is not exact in one. The brands cost nothing at run time.
 * May not: know what lies at an address.   Next: memory/map.ts, the machine's own addresses. */

/** A guest physical address. */
export type Gpa = number & { readonly kind: 'guest physical' };

/** A guest virtual address; canonical or not is the MMU's business. */
export type Gva = bigint & { readonly kind: 'guest virtual' };

/** What functions over guest memory take: a Gpa, or a plain number that the caller knows to be one. A number that
 * carries another brand (a frame number, say) does not compile. */
export type AtGpa = number & { readonly kind?: 'guest physical' };

export const gpa = (address: number): Gpa => address as Gpa;
export const gva = (address: bigint): Gva => BigInt.asUintN(64, address) as Gva;

/** The frame that holds an address: 4 KiB units, as x86 paging counts. */
export const FRAME_SHIFT = 12;
export const FRAME_SIZE = 1 << FRAME_SHIFT;
