/** Near jumps, calls, returns, loops, and the stack.
 *
 * Follows: SDM Vol. 2. Near branches in 64-bit code are always 64 bits wide (AMD honours 66 there; Intel, whom Linux's
 * tools assume, does not: we ignore it). Far transfers and interrupts are TypeScript helpers (engine/system).
 * Next: x86/isa/string.ts. */
import { CONDITION_READS, CONDITIONS, condition, type Form, hex2, type Operation, row } from './types.ts';

const jcc = CONDITIONS.map(
  (c, i): Operation => ({
    name: `j${c}`,
    reads: CONDITION_READS[i >> 1],
    ends: true,
    access: ['-'],
    meaning: (o) => {
      o.branch(condition(o, i));
      return {};
    },
  }),
);
export const jmpRelative: Operation = {
  name: 'jmp',
  ends: true,
  access: ['-'],
  meaning: (o) => {
    o.branch(o.bit(1));
    return {};
  },
};
const callRelative: Operation = {
  name: 'call',
  ends: true,
  stack: true,
  access: ['-'],
  meaning: (o) => {
    o.push(o.nextRip());
    o.branch(o.bit(1));
    return {};
  },
};
const jmpIndirect: Operation = {
  name: 'jmp',
  id: 'jmp-indirect',
  ends: true,
  meaning: (o, target) => {
    const to = o.let(target);
    o.checkTarget(to);
    o.jump(to);
    return {};
  },
};
const callIndirect: Operation = {
  name: 'call',
  id: 'call-indirect',
  ends: true,
  stack: true,
  meaning: (o, target) => {
    const to = o.let(target);
    o.checkTarget(to);
    o.push(o.nextRip());
    o.jump(to);
    return {};
  },
};
const ret: Operation = {
  name: 'ret',
  ends: true,
  stack: true,
  meaning: (o) => {
    const to = o.let(o.stackTop());
    o.checkTarget(to);
    o.adjustStack(o.number(o.width / 8));
    o.jump(to);
    return {};
  },
};
const retImmediate: Operation = {
  name: 'ret',
  id: 'ret-immediate',
  ends: true,
  stack: true,
  meaning: (o, bytes) => {
    const to = o.let(o.stackTop());
    o.checkTarget(to);
    o.adjustStack(o.number(o.width / 8));
    o.adjustStack(bytes); // apart: the sum may not fit 16 bits
    o.jump(to);
    return {};
  },
};
const loop = (name: string, flag?: 'set' | 'clear'): Operation => ({
  name,
  ends: true,
  reads: flag ? 'Z' : '',
  access: ['-'],
  meaning: (o) => {
    o.decrementCount();
    const more = o.bNot(o.countIsZero());
    o.branch(flag ? o.bAnd(more, flag === 'set' ? o.flag('zf') : o.bNot(o.flag('zf'))) : more);
    return {};
  },
});
const jrcxz: Operation = {
  name: 'jrcxz',
  ends: true,
  access: ['-'],
  meaning: (o) => {
    o.branch(o.countIsZero());
    return {};
  },
};

export const push: Operation = {
  name: 'push',
  stack: true,
  meaning: (o, x) => {
    o.push(x);
    return {};
  },
};
export const pop: Operation = {
  name: 'pop',
  stack: true,
  access: ['w'],
  meaning: (o) => ({ result: o.pop() }),
};
const leave: Operation = {
  name: 'leave',
  stack: true,
  meaning: (o) => {
    o.leave();
    return {};
  },
};

/** Flag bits by themselves. */
const flagOp = (name: string, writes: string, meaning: Operation['meaning']): Operation => ({ name, writes, meaning });
const clc = flagOp('clc', 'C', (o) => ({ cf: o.bit(0) }));
const stc = flagOp('stc', 'C', (o) => ({ cf: o.bit(1) }));
const cmc: Operation = { name: 'cmc', writes: 'C', reads: 'C', meaning: (o) => ({ cf: o.bNot(o.flag('cf')) }) };

export const control: Form[] = [
  ...jcc.flatMap((op, i) => [
    row(hex2(0x70 + i), 'Jb', op, { size64: 'f64' }),
    row(`0f ${hex2(0x80 + i)}`, 'Jz', op, { size64: 'f64' }),
  ]),
  row('eb', 'Jb', jmpRelative, { size64: 'f64' }),
  row('e9', 'Jz', jmpRelative, { size64: 'f64' }),
  row('e8', 'Jz', callRelative, { size64: 'f64' }),
  row('ff /2', 'Ev', callIndirect, { size64: 'f64' }),
  row('ff /4', 'Ev', jmpIndirect, { size64: 'f64' }),
  row('c3', '', ret, { size64: 'f64' }),
  row('c2', 'Iw', retImmediate, { size64: 'f64' }),
  row('e0', 'Jb', loop('loopne', 'clear'), { size64: 'f64' }),
  row('e1', 'Jb', loop('loope', 'set'), { size64: 'f64' }),
  row('e2', 'Jb', loop('loop'), { size64: 'f64' }),
  row('e3', 'Jb', jrcxz, { size64: 'f64' }),
  row('50+r', 'Zv', push, { size64: 'd64' }),
  row('58+r', 'Zv', pop, { size64: 'd64' }),
  row('68', 'Iz', push, { size64: 'd64' }),
  row('6a', 'Ib', push, { size64: 'd64' }),
  row('ff /6', 'Ev', push, { size64: 'd64' }),
  row('8f /0', 'Ev', pop, { size64: 'd64' }),
  row('c9', '', leave, { size64: 'd64' }),
  row('f5', '', cmc),
  row('f8', '', clc),
  row('f9', '', stc),
];
