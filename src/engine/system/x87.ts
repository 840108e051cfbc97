/** The x87's helpers by name, in one table: a mnemonic and, where it has several forms, its operand.
 *
 * Next: engine/system/syscall.ts. */
import { x87Arithmetic } from './x87-arithmetic.ts';
import { x87Functions } from './x87-functions.ts';
import { x87Moves } from './x87-moves.ts';
import type { X87Helper } from './x87-unit.ts';

export const x87Helpers: Record<string, X87Helper> = { ...x87Moves, ...x87Arithmetic, ...x87Functions };
