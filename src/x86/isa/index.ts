/** The instruction set: every family's rows, in one list.
 *
 * A new family is one file and one line here.   Next: engine/decoder.ts, which turns the rows into tables. */
import { alu } from './alu.ts';
import { bits } from './bits.ts';
import { control } from './control.ts';
import { decimal } from './decimal.ts';
import { extensions } from './extensions.ts';
import { mmx } from './mmx.ts';
import { move } from './move.ts';
import { multiply } from './multiply.ts';
import { shift } from './shift.ts';
import { sse } from './sse.ts';
import { string } from './string.ts';
import { system } from './system.ts';
import type { Form } from './types.ts';
import { vectorExtensions } from './vector-extensions.ts';
import { vex } from './vex.ts';
import { x87 } from './x87.ts';

export const INSTRUCTIONS: readonly Form[] = [
  ...alu,
  ...multiply,
  ...shift,
  ...bits,
  ...move,
  ...control,
  ...string,
  ...decimal,
  ...system,
  ...x87,
  ...mmx,
  ...sse,
  ...vectorExtensions,
  ...extensions,
  ...vex,
];
