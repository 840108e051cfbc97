/** Decoded instructions as records in WebAssembly memory, and the block headers in front of them.
 *
 * A record is 32 bytes and says everything a handler needs: which handler, where the registers are, the address
 * expression, the immediate. A block is a header and its records, ending in one that leaves the block. Records are the
 * interpreter's input and the future translator's source. The offsets stand here only.
 * Next: engine/variants.ts. */

export const RECORD_BYTES = 32;
export const REC = {
  HANDLER: 0, // u16
  LENGTH: 2, // u8: bytes of the instruction
  REMAINING: 3, // u8: instructions from this one to the block's end, this one included; 0 in a step that is no instruction
  OFFSET: 4, // u16: of the instruction in its page
  A: 6, // u16: state address of the first register operand
  B: 8, // u16: of the second
  BASE: 10, // u16: of the base register, or of ZERO, PAGE_BASE, LINEAR
  INDEX: 12, // u16
  SCALE: 14, // u8: shift count
  SEGMENT: 15, // u8: in the checked step, the segment; elsewhere SLOW.STACK when the memory operand is in SS
  DISPLACEMENT: 16, // i32
  EXTRA: 20, // i32: helper instruction number; size and access for the segment step
  IMMEDIATE: 24, // i64; or two links:
  LINK_TAKEN: 24, // i32: block to go to, 0 while unknown
  LINK_NEXT: 28, // i32
} as const;

export const HEADER_BYTES = 32;
export const BLOCK = {
  COUNT: 0, // i32: instructions in the block
  OFFSET: 4, // i32: of its first instruction in the page
  PAGE: 8, // u32: guest-physical page
  MODE: 12, // i32
  LENGTH: 16, // i32: bytes of code it was decoded from
  RECORDS: 20, // i32: number of records
  VALID: 24, // i32: 0 once invalidated
  REPEATS: 28, // i32: 1 when its only instruction is a string instruction with REP
} as const;

/** Handlers that are no instruction; those of instructions are numbered behind them. */
export const SPECIAL = {
  END: 0, // the block ends; its link is what follows
  HELPER: 1, // TypeScript runs the instruction
  RESYNC: 2, // a breakpoint lies here
  SEGMENT: 3, // LINEAR := ((base + index + displacement) & IMMEDIATE) + the base at A, unchecked
  BITS: 4, // LINEAR := the address plus the bytes that the bit offset at B goes beyond the operand
  CHECKED: 5, // LINEAR by TypeScript, with limit and type checks
  ENTRY: 6, // a traced function begins here; EXTRA is its counter's address
} as const;

/** Why `run` returned. */
export const STATUS = {
  BUDGET: 0, // fewer instructions left than the next block has, or none; RIP is set
  FAULT: 1, // the instruction at CURRENT faulted; FAULT_* say how; nothing of it is committed
  JUMP: 2, // RIP is set, and no block is known there
  HELPER: 3, // the instruction at CURRENT is TypeScript's
  RESYNC: 4, // the place of a breakpoint; RIP is set
  DONE: 5, // the instruction at CURRENT completed in TypeScript, and the run loop has to look around
  EVENT: 6, // the same, and device events may have moved
  JUMPED: 7, // the same, with RIP set
  THROWN: 8, // TypeScript threw; nothing of the instruction is committed
} as const;

/** What TypeScript says when generated code asks it to run an instruction or deliver a fault: go on behind it, go on at
 * RIP, or return (a STATUS). */
export const ASK = { NEXT: 0, JUMP: 100 } as const; // no STATUS that is returned instead has these values

/** What a handler in a function of its own returns. */
export const RETURN = {
  NEXT: 0,
  FAULT: 1,
  JUMP: 2, // to STATE.RIP
  BUDGET: 3,
  ASK: 4, // it is TypeScript's after all; nothing has changed
  MOVED_SHIFT: 8, // above these bits: how far the record has moved, in bytes
} as const;
/** From here on: return with a STATUS, LEAVE + STATUS. */
export const LEAVE = 16;
