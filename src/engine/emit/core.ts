/** The core: one WebAssembly module made from the rows, whose `run` executes decoded blocks.
 *
 * `run` is a loop over records: load the handler's number, jump through one table, do the work, go on. The hottest
 * handlers stand inside it, so that nothing is spilled between two instructions; the others are functions behind an
 * indirect call. Blocks follow each other by links inside a page and by a lookup through the fetch TLB elsewhere.
 * `buildCore` is a pure function of the rows: the same bytes in every process.
 * Follows: the measurements in the project's design (one `loop { br_table }`, quanta, no exceptions on fast paths).
 * Next: engine/blocks.ts. */
import { ModuleBuilder, pushU32 } from '../../wasm/module.ts';
import { I32, I64, OP, VOID } from '../../wasm/opcodes.ts';
import { CONDITIONS } from '../../x86/isa/types.ts';
import { ASK, BLOCK, HEADER_BYTES, LEAVE, REC, RECORD_BYTES, RETURN, SPECIAL, STATUS } from '../record.ts';
import {
  BLOCK_TABLE,
  BLOCK_TABLE_ENTRIES,
  FETCH_TLB_ENTRIES,
  STATE,
  TLB_BYTES,
  TRAIL,
  TRAIL_ENTRIES,
  TRAIL_INDEX,
} from '../state.ts';
import { enumerate, type Variant } from '../variants.ts';
import { enumerateVectors, type VectorVariant, vectorShell } from '../vector-variants.ts';
import {
  binary,
  Code,
  type CoreFunctions,
  call,
  type Expression,
  extend,
  field16,
  field32,
  get,
  i32,
  i64,
  load,
  nextOffset,
  P,
  record,
  select,
  setState32,
  setState64,
  state32,
  state64,
  unary,
  wrap,
} from './code.ts';
import { emitInstruction, emitString, noteCurrent } from './handler.ts';
import { fusedPairs, hasBasedTwin, hasQuietTwin, isHot, type LoopMode } from './hot.ts';
import { allFlags, carryFlag } from './lazy-flags.ts';
import { type Exits, WasmMeaning } from './meaning.ts';
import { emitQuick, QUICK } from './quick.ts';
import { emitVector } from './simd.ts';
import { emitVectorRun, isInARow } from './vector-run.ts';
import { emitDivide, highProduct } from './wide.ts';

const SPECIALS = Object.keys(SPECIAL).length;

export type Handlers = {
  /** Number of the handler for a variant's key; with flags and, where there is one, without. */
  loud: ReadonlyMap<string, number>;
  quiet: ReadonlyMap<string, number>;
  /** The same for memory operands without an index. */
  loudBased: ReadonlyMap<string, number>;
  quietBased: ReadonlyMap<string, number>;
  /** key + ' j' + condition → number. */
  fused: ReadonlyMap<string, number>;
  /** Helper's name → a function that does it in the common case, and asks TypeScript otherwise. */
  quick: ReadonlyMap<string, number>;
  /** The key of a vector variant → its function. */
  vector: ReadonlyMap<string, number>;
  /** Numbers below this stand in the loop. */
  inside: number;
};

type HotHandler = { variant: Variant; flags: boolean; based?: boolean; condition?: string };
type Plan = {
  mode: LoopMode;
  hot: HotHandler[];
  functions: { variant: Variant; flags: boolean }[];
  /** Index of the function that does a variant, with its flags or without. */
  functionOf: (variant: Variant, flags: boolean) => number;
  handlers: Handlers;
};

/** Numbers every handler of one build of the loop. Cheap: no code is made. Functions are the same for both builds. */
export function planHandlers(mode: LoopMode, variants = enumerate()): Plan {
  const byKey = new Map(variants.map((v) => [v.key, v]));
  const hot: HotHandler[] = [];
  const functions: Plan['functions'] = [];
  const loud = new Map<string, number>();
  const quiet = new Map<string, number>();
  const loudBased = new Map<string, number>();
  const quietBased = new Map<string, number>();
  const fused = new Map<string, number>();
  const add = (map: Map<string, number>, handler: HotHandler, key = handler.variant.key): void => {
    map.set(key, SPECIALS + hot.push(handler) - 1);
  };
  for (const variant of variants) {
    if (!isHot(variant, mode)) continue;
    add(loud, { variant, flags: true });
    if (hasQuietTwin(variant)) add(quiet, { variant, flags: false });
    if (!hasBasedTwin(variant)) continue;
    add(loudBased, { variant, flags: true, based: true });
    if (hasQuietTwin(variant)) add(quietBased, { variant, flags: false, based: true });
  }
  for (const { key, conditions } of fusedPairs(mode)) {
    const variant = byKey.get(key);
    if (!variant) throw new Error(`broken belief: fused pair "${key}" names a variant`);
    for (const condition of conditions) add(fused, { variant, flags: true, condition }, `${key} j${condition}`);
  }
  const inside = SPECIALS + hot.length;
  const indices = [new Map<string, number>(), new Map<string, number>()] as const; // silent, loud
  const addFunction = (variant: Variant, flags: boolean): number => {
    const index = functions.push({ variant, flags }) - 1;
    indices[flags ? 1 : 0].set(variant.key, index);
    return inside + index;
  };
  for (const variant of variants) {
    const number = addFunction(variant, true);
    if (!loud.has(variant.key)) loud.set(variant.key, number);
    if (variant.op.writes && !variant.op.string) {
      const silent = addFunction(variant, false);
      // A loud handler in the loop is quicker than a quiet one outside it.
      if (!quiet.has(variant.key) && !isHot(variant, mode)) quiet.set(variant.key, silent);
    }
  }
  const functionOf = (variant: Variant, flags: boolean): number => {
    const index = indices[flags ? 1 : 0].get(variant.key);
    if (index === undefined) throw new Error(`broken belief: ${variant.key} has a function`);
    return index;
  };
  // The shortcuts of both loops stand behind the functions, in the order of QUICK.
  const first = inside + functions.length + (mode === 32 ? 0 : QUICK.length);
  const shortcuts = new Map(QUICK.map(({ name }, n) => [name, first + n]));
  // And behind them the vectors, the same for both.
  const behind = inside + functions.length + 2 * QUICK.length;
  const vectors = enumerateVectors();
  const inARow = vectors.filter(isInARow);
  const vector = new Map(vectors.map(({ key }, n) => [key, behind + inARow.length + n]));
  // In 64-bit code those that stand in a row begin a run.
  if (mode === 64) for (const [n, { key }] of inARow.entries()) vector.set(key, behind + n);
  return {
    mode,
    hot,
    functions,
    functionOf,
    handlers: { loud, quiet, loudBased, quietBased, fused, quick: shortcuts, vector, inside },
  };
}

export function buildCore(memoryPages = 1): Uint8Array<ArrayBuffer> {
  const variants = enumerate();
  const plans = ([32, 64] as const).map((mode) => planHandlers(mode, variants));
  const module = new ModuleBuilder();
  const imports = {
    miss: module.importFunction('cpu', 'miss', [I32, I32, I32], [I32]),
    commit: module.importFunction('cpu', 'commit', [], []),
    segment: module.importFunction('cpu', 'segment', [I32], [I32]),
    helper: module.importFunction('cpu', 'helper', [I32], [I32]),
    fault: module.importFunction('cpu', 'fault', [I32], [I32]),
    entered: module.importFunction('cpu', 'entered', [I32], []),
    port: module.importFunction('cpu', 'port', [I32, I32, I32], [I32]),
    pending: module.importFunction('cpu', 'pending', [], [I32]),
  };
  module.importMemory('cpu', 'memory', memoryPages, 65536);
  const fn: CoreFunctions = {
    miss: module.declare([I64, I32], [I32]),
    translateRead: module.declare([I64, I32], [I32]),
    translateWrite: module.declare([I64, I32], [I32]),
    translateRead16: module.declare([I64, I32], [I32]),
    translateWrite16: module.declare([I64, I32], [I32]),
    commit: imports.commit,
    segment: imports.segment,
    helper: imports.helper,
    fault: imports.fault,
    entered: imports.entered,
    port: imports.port,
    pending: imports.pending,
    flags: module.declare([], [I32]),
    carry: module.declare([], [I32]),
    mulHighU: module.declare([I64, I64], [I64]),
    divide: module.declare([I64, I64, I64, I32], [I32]),
    lookup: module.declare([I64], [I32]),
  };
  const define = (index: number, parameters: number, emit: (code: Code) => void): void => {
    const code = new Code(parameters);
    emit(code);
    module.define(index, code.locals, code.bytes);
  };
  define(fn.miss, 2, (code) => {
    const ea = get(I64, 0);
    code.emit(call(I32, imports.miss, wrap(ea), wrap(binary(OP.i64_shr_u, I64, ea, i64(32))), get(I32, 1)));
  });
  for (const [index, offset] of [
    [fn.translateRead, 0],
    [fn.translateWrite, TLB_BYTES],
  ] as const) {
    define(index, 2, (code) => emitTranslate(code, offset, fn.miss));
  }
  define(fn.translateRead16, 2, (code) => emitTranslate(code, 0, fn.miss, 16));
  define(fn.translateWrite16, 2, (code) => emitTranslate(code, TLB_BYTES, fn.miss, 16));
  define(fn.flags, 0, (code) => code.emit(allFlags(code)));
  define(fn.carry, 0, (code) => code.emit(carryFlag(code)));
  define(fn.mulHighU, 2, (code) => code.emit(highProduct(code, get(I64, 0), get(I64, 1))));
  define(fn.divide, 4, emitDivide);
  define(fn.lookup, 1, emitLookup);

  const table = plans[0].functions.map(({ variant, flags }) => {
    const index = module.declare([I32], [I32]);
    define(index, 1, (code) => emitFunction(code, fn, variant, flags));
    return index;
  });
  for (const mode of [32, 64] as const) {
    for (const { emit } of QUICK) {
      table.push(module.declare([I32], [I32]));
      define(table[table.length - 1], 1, (code) => emitQuick(code, fn, mode, emit));
    }
  }
  const vectors = enumerateVectors();
  const vectorFunctions = vectors.map((variant) => {
    const index = module.declare([I32], [I32]);
    define(index, 1, (code) => emitVectorFunction(code, fn, variant));
    return index;
  });
  const inARow = vectors.filter(isInARow);
  const vectorRun = module.declare([I32], [I32]);
  define(vectorRun, 1, (code) => {
    const own = inARow.map((variant) => vectorFunctions[vectors.indexOf(variant)]);
    emitVectorRun(code, fn, inARow, own, plans[1].handlers.inside + table.length);
  });
  table.push(...inARow.map(() => vectorRun), ...vectorFunctions);
  const handlerType = module.type([I32], [I32]);
  for (const plan of plans) {
    const run = module.declare([I32], [I32]);
    define(run, 1, (code) => emitRun(code, fn, plan, handlerType));
    module.exportFunction(`run${plan.mode}`, run);
  }
  module.table(table);
  const here = module.declare([], [I32]);
  define(here, 0, (code) => code.emit(call(I32, fn.lookup, state64(STATE.RIP))));
  module.exportFunction('lookup', here);
  return module.finish();
}

// ---- Handlers in functions of their own

function emitFunction(code: Code, fn: CoreFunctions, variant: Variant, flags: boolean): void {
  const exits: Exits = {
    fault: (c) => c.return(i32(RETURN.FAULT)),
    jump: (c, target) => {
      setState64(c, STATE.RIP, target);
      c.return(i32(RETURN.JUMP));
    },
    branch: (c, condition) => {
      setState64(c, STATE.RIP, branchTarget(condition ?? true));
      c.return(i32(RETURN.JUMP));
    },
  };
  const m = new WasmMeaning(code, fn, variant, exits, flags);
  const mayLeave =
    variant.op.string || variant.op.stack || variant.op.faults || variant.operands.some((o) => o.kind === 'M');
  if (mayLeave) noteCurrent(code);
  if (variant.op.string) emitString(m);
  else emitInstruction(m, flags);
  if (!(variant.op.string && variant.rep !== 0)) code.emit(i32(RETURN.NEXT));
}

function emitVectorFunction(code: Code, fn: CoreFunctions, variant: VectorVariant): void {
  const never = (): never => {
    throw new Error('broken belief: a vector instruction goes nowhere');
  };
  const exits: Exits = { fault: (c) => c.return(i32(RETURN.FAULT)), jump: never, branch: never };
  emitVector(new WasmMeaning(code, fn, vectorShell(variant), exits, true), variant);
  code.emit(i32(RETURN.NEXT));
}

/** RIP after the instruction of the record, plus its displacement if the branch is taken. */
function branchTarget(taken: boolean | Expression, mode?: LoopMode): Expression {
  const next = nextOffset();
  if (mode === 32) {
    const rip = binary(OP.i32_add, I32, state32(STATE.PAGE_BASE), next);
    return extend(taken ? binary(OP.i32_add, I32, rip, field32(REC.DISPLACEMENT)) : rip);
  }
  const displacement = load(OP.i64_load32_s, I64, record, REC.DISPLACEMENT);
  const rip = binary(OP.i64_add, I64, state64(STATE.PAGE_BASE), extend(next));
  const step = typeof taken === 'boolean' ? displacement : select(I64, taken, displacement, i64(0));
  const sum = taken ? binary(OP.i64_add, I64, rip, step) : rip;
  return mode === 64 ? sum : binary(OP.i64_and, I64, sum, state64(STATE.RIP_MASK));
}

/** base + (index << scale) + displacement of the record, uncut. */
function recordAddress(): Expression {
  const scaled = binary(
    OP.i64_shl,
    I64,
    load(OP.i64_load, I64, field16(REC.INDEX)),
    load(OP.i64_load8_u, I64, record, REC.SCALE),
  );
  const sum = binary(OP.i64_add, I64, load(OP.i64_load, I64, field16(REC.BASE)), scaled);
  return binary(OP.i64_add, I64, sum, load(OP.i64_load32_s, I64, record, REC.DISPLACEMENT));
}

// ---- The loop

/** What handlers inside the loop may call. */
const NO_CALLS = new Proxy({} as CoreFunctions, {
  get: (_, name) => {
    throw new Error(`broken belief: a handler inside the loop calls nothing, not even ${String(name)}`);
  },
});

/** The loop of one mode. The inner loop calls nothing: the host's compiler then keeps the record's address in a register
 * from one instruction to the next, where a call anywhere inside would have it stored and loaded again each time. What
 * needs a call (a missing TLB entry, a function, TypeScript) leaves the inner loop and comes back to it; a memory access
 * whose page is not in the TLB is done by the function of the same instruction, from its beginning. */
function emitRun(code: Code, fn: CoreFunctions, plan: Plan, handlerType: number): void {
  // Local 0 is first the block given, then the record: see P. `block` keeps the running block.
  const block = code.local(I32);
  const target = code.local(I64);
  const link = code.local(I32);
  const status = code.local(I32);
  const found = code.local(I32);
  const tlb = code.local(I32); // privilege cannot change while generated code runs
  const slow = code.local(I32); // the function to call, as an index of the table
  const N = SPECIALS + plan.hot.length;
  // Instructions that may still complete. In a local, because a memory cell that each block reads and writes would be
  // the longest chain of dependencies in the loop; whoever may look at the cell finds it stored.
  const left = code.local(I32);
  const storeLeft = (): void => setState32(code, STATE.LEFT, get(I32, left));
  const loadLeft = (): void => code.set(left, state32(STATE.LEFT));
  const leave = (status: Expression): void => {
    storeLeft();
    code.return(status);
  };
  /** `block` is to be executed: its first record, unless fewer instructions are left than it has. */
  const enter = (): void => {
    const count = load(OP.i32_load, I32, get(I32, block), BLOCK.COUNT);
    code.set(left, binary(OP.i32_sub, I32, get(I32, left), count));
    code.if(binary(OP.i32_lt_s, I32, get(I32, left), i32(0)), () => {
      code.set(left, binary(OP.i32_add, I32, get(I32, left), count));
      const at = extend(load(OP.i32_load, I32, get(I32, block), BLOCK.OFFSET));
      const rip = binary(OP.i64_add, I64, state64(STATE.PAGE_BASE), at);
      setState64(code, STATE.RIP, binary(OP.i64_and, I64, rip, state64(STATE.RIP_MASK)));
      leave(i32(STATUS.BUDGET));
    });
    code.set(P, binary(OP.i32_add, I32, get(I32, block), i32(HEADER_BYTES)));
  };
  const nextRecord = (): void => code.set(P, binary(OP.i32_add, I32, record, i32(RECORD_BYTES)));
  const isStatus = (value: number): Expression => binary(OP.i32_eq, I32, get(I32, status), i32(value));

  code.set(tlb, state32(STATE.TLB));
  loadLeft();
  code.set(block, record);
  enter();
  // Labels, outermost first: outer, fault, call, slow, next, enter, link, taken, straight, jump, rare, and one for each
  // handler.
  code.op(OP.loop, VOID); // outer: back from a call, P is the record to execute
  code.op(OP.block, VOID); // fault
  code.op(OP.block, VOID); // call: the record at P asks TypeScript
  code.op(OP.block, VOID); // slow: function number `slow` does the record's instruction
  code.op(OP.loop, VOID); // next: P is the record to execute
  code.op(OP.block, VOID); // enter: `block` is to be executed
  code.op(OP.block, VOID); // link: `target` is where to go, `link` the field to fill in
  code.op(OP.block, VOID); // taken: the branch at P, and the end of a block
  code.op(OP.block, VOID); // straight: the branch at P is not taken
  code.op(OP.block, VOID); // jump: `target` is where to go, nothing to link
  code.op(OP.block, VOID); // rare: the default of the table
  for (let i = 0; i < N; i++) code.op(OP.block, VOID);
  code.emit(field16(REC.HANDLER));
  code.op(OP.br_table);
  code.u32(N);
  for (let i = 0; i < N; i++) code.u32(i);
  code.u32(N); // rare

  for (let i = 0; i < N; i++) {
    code.op(OP.end);
    // Open around handler i: the blocks of handlers i+1..N-1, and then the labels above.
    const rare = N - 1 - i;
    const labels = {
      jump: rare + 1,
      straight: rare + 2,
      taken: rare + 3,
      enter: rare + 5,
      next: rare + 6,
      slow: rare + 7,
      call: rare + 8,
      fault: rare + 9,
    };
    code.depth = 0;
    // The two ways of a branch are an `if` in each handler, not a `select`: the host predicts each by itself, and does
    // not wait for the guest's condition to find the next block.
    const branch = (c: Code, condition: Expression | undefined): void => {
      if (condition) c.brIf(unary(OP.i32_eqz, I32, condition), labels.straight + c.depth);
      c.br(labels.taken + c.depth);
    };
    const exits: Exits = {
      fault: (c) => c.br(labels.fault + c.depth),
      jump: (c, to) => {
        c.set(target, to);
        c.br(labels.jump + c.depth);
      },
      branch,
    };
    const goNext = (): void => {
      nextRecord();
      code.br(labels.next + code.depth);
    };
    // Locals of the loop itself were taken before; only those taken here are given back.
    const mark = code.mark();
    if (i === SPECIAL.END) branch(code, undefined);
    else if (i === SPECIAL.HELPER || i === SPECIAL.CHECKED) code.br(labels.call);
    else if (i === SPECIAL.RESYNC) {
      noteCurrent(code);
      const rip = binary(OP.i64_add, I64, state64(STATE.PAGE_BASE), extend(field16(REC.OFFSET)));
      setState64(code, STATE.RIP, binary(OP.i64_and, I64, rip, state64(STATE.RIP_MASK)));
      leave(i32(STATUS.RESYNC));
    } else if (i === SPECIAL.SEGMENT) {
      const inSegment = binary(OP.i64_and, I64, recordAddress(), load(OP.i64_load, I64, record, REC.IMMEDIATE));
      const segmentBase = load(OP.i64_load, I64, field16(REC.A));
      setState64(code, STATE.LINEAR, binary(OP.i64_add, I64, inSegment, segmentBase));
      goNext();
    } else if (i === SPECIAL.BITS) {
      // EXTRA's upper half is the operand's width, IMMEDIATE the negative of its bytes.
      const width = binary(OP.i32_shr_u, I32, load(OP.i32_load, I32, record, REC.EXTRA), i32(16));
      const spare = code.let(extend(binary(OP.i32_sub, I32, i32(64), width)));
      const bits = load(OP.i64_load, I64, field16(REC.B));
      const offset = binary(OP.i64_shr_s, I64, binary(OP.i64_shl, I64, bits, spare), spare);
      const bytes = binary(
        OP.i64_and,
        I64,
        binary(OP.i64_shr_s, I64, offset, i64(3)),
        load(OP.i64_load, I64, record, REC.IMMEDIATE),
      );
      const sum = binary(OP.i64_add, I64, recordAddress(), bytes);
      setState64(code, STATE.LINEAR, binary(OP.i64_and, I64, sum, state64(STATE.ADDRESS_MASK)));
      goNext();
    } else if (i === SPECIAL.ENTRY) {
      const counter = code.let(field32(REC.EXTRA));
      const count = code.let(binary(OP.i32_add, I32, load(OP.i32_load, I32, counter), i32(1)));
      code.store(OP.i32_store, counter, count);
      code.brIf(binary(OP.i32_eq, I32, count, i32(1)), labels.call);
      goNext();
    } else {
      const { variant, flags, condition, based } = plan.hot[i - SPECIALS];
      const m = new WasmMeaning(code, NO_CALLS, variant, exits, flags, {
        mode: plan.mode,
        tlb: get(I32, tlb),
        based: based === true,
        slow: () => {
          code.set(slow, i32(plan.functionOf(variant, flags)));
          code.br(labels.slow + code.depth);
        },
      });
      const { operands, result } = emitInstruction(m, flags);
      if (condition) {
        const holds = code.let(fusedCondition(m, condition, operands, result));
        nextRecord(); // the branch's own
        branch(code, holds);
      } else if (!m.left) goNext();
    }
    code.release(mark);
  }
  code.op(OP.end); // rare: a function
  code.set(slow, binary(OP.i32_sub, I32, field16(REC.HANDLER), i32(N)));
  code.br(6); // jump, straight, taken, link, enter, next, to slow
  code.op(OP.end); // jump
  code.depth = 0;
  const goTo = (to: Expression, open: number): void => {
    code.set(block, to);
    code.br(code.depth + open); // over the open ifs, to enter
  };
  lookUp(code, get(I64, target), plan.mode, (to) => goTo(to, 3)); // straight, taken, link, to enter
  setState64(code, STATE.RIP, get(I64, target));
  leave(i32(STATUS.JUMP));
  for (const [field, toLink, toEnter] of [
    [REC.LINK_NEXT, 1, 2],
    [REC.LINK_TAKEN, 0, 1],
  ] as const) {
    code.op(OP.end); // straight, then taken
    code.depth = 0;
    code.set(found, field32(field));
    code.if(get(I32, found), () => goTo(get(I32, found), toEnter));
    code.set(link, binary(OP.i32_add, I32, record, i32(field)));
    code.set(target, branchTarget(field === REC.LINK_TAKEN, plan.mode));
    code.br(toLink);
  }
  code.op(OP.end); // link: fill the field in if the block found lies in the same frame and linear page
  const base = code.local(I64);
  code.set(base, state64(STATE.PAGE_BASE));
  const page = (b: number): Expression => load(OP.i32_load, I32, get(I32, b), BLOCK.PAGE);
  code.depth = 0;
  lookUp(code, get(I64, target), plan.mode, (to) => {
    code.set(found, to);
    const sameFrame = binary(OP.i32_eq, I32, page(found), page(block));
    const samePage = binary(OP.i64_eq, I32, get(I64, base), state64(STATE.PAGE_BASE)); // two pages may be one frame
    code.if(binary(OP.i32_and, I32, sameFrame, samePage), () =>
      code.store(OP.i32_store, get(I32, link), get(I32, found)),
    );
    goTo(get(I32, found), 0);
  });
  setState64(code, STATE.RIP, get(I64, target));
  leave(i32(STATUS.JUMP));
  code.op(OP.end); // enter
  code.depth = 0;
  enter();
  code.br(0); // next
  code.op(OP.end); // next
  code.op(OP.unreachable);

  // From here on nothing is hot. Depths count from the outer loop's label: fault, call and slow are inside it.
  const back = (): void => code.br(code.depth); // to outer
  /** On at RIP. */
  const resume = (): void => {
    code.set(block, call(I32, fn.lookup, state64(STATE.RIP)));
    code.if(unary(OP.i32_eqz, I32, get(I32, block)), () => leave(i32(STATUS.JUMP)));
    enter();
    back();
  };
  const askHelper = (): void => {
    noteCurrent(code);
    storeLeft();
    code.set(status, call(I32, fn.helper, record));
    loadLeft();
    code.if(unary(OP.i32_eqz, I32, get(I32, status)), () => {
      nextRecord();
      back();
    });
    code.if(isStatus(ASK.JUMP), resume);
    leave(get(I32, status));
  };
  code.op(OP.end); // slow
  code.depth = 2; // call, fault
  storeLeft();
  code.emit(record);
  code.emit(get(I32, slow));
  code.op(OP.call_indirect);
  pushU32(code.bytes, handlerType);
  code.op(0x00, OP.local_set);
  code.u32(status);
  loadLeft(); // repetitions count down
  const moved = binary(OP.i32_shr_u, I32, get(I32, status), i32(RETURN.MOVED_SHIFT)); // by a run of vectors
  code.set(P, binary(OP.i32_add, I32, record, moved));
  code.set(status, binary(OP.i32_and, I32, get(I32, status), i32((1 << RETURN.MOVED_SHIFT) - 1)));
  code.if(unary(OP.i32_eqz, I32, get(I32, status)), () => {
    nextRecord();
    back();
  });
  code.brIf(isStatus(RETURN.FAULT), 1);
  code.if(isStatus(RETURN.BUDGET), () => leave(i32(STATUS.BUDGET)));
  code.if(isStatus(RETURN.ASK), askHelper);
  const leaves = binary(OP.i32_ge_u, I32, get(I32, status), i32(LEAVE));
  code.if(leaves, () => leave(binary(OP.i32_sub, I32, get(I32, status), i32(LEAVE))));
  resume();
  code.op(OP.end); // call
  code.depth = 1; // fault
  const handlerIs = (special: number): Expression => binary(OP.i32_eq, I32, field16(REC.HANDLER), i32(special));
  code.if(handlerIs(SPECIAL.HELPER), askHelper);
  noteCurrent(code);
  storeLeft();
  code.if(
    handlerIs(SPECIAL.CHECKED),
    () => code.brIf(call(I32, fn.segment, record), 1), // over the if, to fault
    () => code.emit(call(I32, fn.entered, record)), // it returns nothing
  );
  nextRecord();
  back();
  code.op(OP.end); // fault
  code.depth = 0;
  noteCurrent(code);
  storeLeft();
  code.set(status, call(I32, fn.fault, record));
  loadLeft();
  code.if(isStatus(ASK.JUMP), resume);
  leave(get(I32, status));
  code.op(OP.end); // outer
  code.op(OP.unreachable);
}

/** The branch condition straight from the operands of the comparison before it. */
function fusedCondition(
  m: WasmMeaning,
  name: string,
  [x, y]: (Expression | undefined)[],
  result: Expression | undefined,
): Expression {
  const number = CONDITIONS.indexOf(name as (typeof CONDITIONS)[number]);
  const r = result ?? m.number(0);
  const a = x ?? r;
  const b = y ?? r;
  const subtraction = m.variant.op.lazy === 'sub';
  const base = {
    b: () => m.ltu(a, b),
    e: () => (subtraction ? m.eq(a, b) : m.isZero(r)),
    be: () => m.bNot(m.ltu(b, a)),
    s: () => m.sign(r),
    l: () => m.lts(a, b),
    le: () => (subtraction ? m.bNot(m.lts(b, a)) : m.bOr(m.sign(r), m.isZero(r))),
  }[CONDITIONS[number & ~1] as 'b'];
  return number & 1 ? m.bNot(base()) : base();
}

// ---- Functions that handlers call

function emitTranslate(code: Code, offset: number, miss: number, size?: number): void {
  const ea = get(I64, 0);
  const kind = get(I32, 1);
  const low = wrap(ea);
  const entry = code.let(
    binary(
      OP.i32_add,
      I32,
      binary(OP.i32_and, I32, binary(OP.i32_shr_u, I32, low, i32(8)), i32(0x3ff0)),
      state32(STATE.TLB),
    ),
  );
  const bytes = size ? i64(size) : extend(binary(OP.i32_and, I32, kind, i32(15)));
  const last = binary(OP.i64_sub, I64, binary(OP.i64_add, I64, ea, bytes), i64(1));
  code.if(
    binary(OP.i64_eq, I32, load(OP.i64_load, I64, entry, offset), binary(OP.i64_and, I64, last, i64(-4096))),
    () => code.return(binary(OP.i32_add, I32, low, load(OP.i32_load, I32, entry, offset + 8))),
  );
  code.emit(call(I32, miss, ea, kind));
}

/** Block at a RIP, or 0 when TypeScript must find or make it. Sets PAGE_BASE when found, and notes the trail. */
function emitLookup(code: Code): void {
  lookUp(code, get(I64, 0), undefined, (block) => code.return(block));
  code.emit(i32(0));
}

/** The lookup itself; `found` gets the block and leaves. Falls through when there is none. */
function lookUp(code: Code, rip: Expression, mode: LoopMode | undefined, found: (block: Expression) => void): void {
  const whole = binary(OP.i64_add, I64, rip, state64(STATE.CS_BASE));
  // In 64-bit code CS has no base.
  const linear = mode === 64 ? rip : code.let(binary(OP.i64_and, I64, whole, state64(STATE.ADDRESS_MASK)));
  const entry = code.let(
    binary(
      OP.i32_add,
      I32,
      binary(OP.i32_and, I32, binary(OP.i32_shr_u, I32, wrap(linear), i32(8)), i32((FETCH_TLB_ENTRIES - 1) << 4)),
      state32(STATE.FETCH_TLB),
    ),
  );
  const page = binary(OP.i64_and, I64, linear, i64(-4096));
  code.if(binary(OP.i64_eq, I32, load(OP.i64_load, I64, entry), page), () => {
    const physical = code.let(
      binary(OP.i32_or, I32, load(OP.i32_load, I32, entry, 8), binary(OP.i32_and, I32, wrap(linear), i32(0xfff))),
    );
    const slot = code.let(blockSlot(physical));
    const same = binary(OP.i32_eq, I32, load(OP.i32_load, I32, slot, BLOCK_TABLE), physical);
    const mode = binary(OP.i32_eq, I32, load(OP.i32_load, I32, slot, BLOCK_TABLE + 4), state32(STATE.MODE));
    code.if(binary(OP.i32_and, I32, same, mode), () => {
      const base = binary(OP.i64_sub, I64, rip, binary(OP.i64_and, I64, linear, i64(0xfff)));
      setState64(code, STATE.PAGE_BASE, base);
      const index = code.let(state32(TRAIL_INDEX));
      const at = binary(OP.i32_shl, I32, binary(OP.i32_and, I32, index, i32(TRAIL_ENTRIES - 1)), i32(3));
      code.store(OP.i64_store, at, rip, TRAIL);
      setState32(code, TRAIL_INDEX, binary(OP.i32_add, I32, index, i32(1)));
      found(load(OP.i32_load, I32, slot, BLOCK_TABLE + 8));
    });
  });
}

/** Offset of a physical address's entry in the block table (also in blocks.ts: blockSlot). */
function blockSlot(physical: Expression): Expression {
  const mixed = binary(OP.i32_xor, I32, physical, binary(OP.i32_shr_u, I32, physical, i32(12)));
  return binary(OP.i32_shl, I32, binary(OP.i32_and, I32, mixed, i32(BLOCK_TABLE_ENTRIES - 1)), i32(4));
}
