/** xenstore: what each request answers to a domU, and that no bytes in its ring can do more than that. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { XS_TYPE } from '../../../../src/layout/xen/rings.ts';
import { StoreConnection } from '../../../../src/personality/xen/store/requests.ts';
import { seededTree } from '../../../../src/personality/xen/store/seed.ts';

const latin = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const plain = (bytes: Uint8Array) => [...bytes].map((byte) => String.fromCharCode(byte)).join('');

function store(): StoreConnection {
  const seed = { domid: 1, memory: 262_144, store: { port: 1, frame: 5 }, console: { port: 2, frame: 6 } };
  return new StoreConnection(seededTree(seed), 1);
}
type Type = keyof typeof XS_TYPE;
/** The answer's payload; an error as `!ENOENT`. */
function ask(connection: StoreConnection, type: Type, payload: string, txId = 0): string {
  const reply = connection.answer({ type: XS_TYPE[type], txId, payload: latin(payload) });
  const text = plain(reply.payload);
  if (reply.type === XS_TYPE.ERROR) return `!${text.replace(/\0$/, '')}`;
  expect(reply.type).toBe(XS_TYPE[type]);
  return text;
}
const events = (connection: StoreConnection) =>
  connection.events.splice(0).map((event) => plain(event).split('\0').slice(0, 2).join(' '));

describe('a domain without devices finds', () => {
  it.each([
    ['DIRECTORY', '/local/domain/1\0', 'vm\0name\0domid\0cpu\0memory\0device\0control\0store\0console\0data\0drivers\0feature\0attr\0error\0'],
    ['DIRECTORY', 'device\0', 'suspend\0'], ['DIRECTORY', 'device/vbd\0', '!ENOENT'], ['DIRECTORY', 'backend\0', '!ENOENT'],
    ['READ', 'domid\0', '1'], ['READ', 'name\0', 'guest'], ['READ', 'cpu/0/availability\0', 'online'],
    ['READ', 'memory/target\0', '262144'], ['READ', 'memory/static-max\0', '262144'],
    ['READ', 'control/platform-feature-xs_reset_watches\0', '1'], ['READ', 'control/shutdown\0', ''],
    ['READ', 'store/port\0', '1'], ['READ', 'console/port\0', '2'], ['READ', 'console/type\0', 'xenconsoled'],
    ['READ', 'vm\0', '/vm/00000000-0000-0000-0000-000000000001'],
    ['READ', '/vm/00000000-0000-0000-0000-000000000001/name\0', 'guest'],
    ['GET_PERMS', 'memory\0', 'n0\0r1\0'], ['GET_PERMS', 'control/shutdown\0', 'n1\0'],
    ['GET_DOMAIN_PATH', '7\0', '/local/domain/7\0'],
    ['IS_DOMAIN_INTRODUCED', '1\0', 'T\0'], ['IS_DOMAIN_INTRODUCED', '3\0', 'F\0'],
  ] as const)('%s %j: %j', (type, payload, answer) => {
    expect(ask(store(), type, payload)).toBe(answer);
  }); // biome-ignore format: a table
});

describe('what a domU may not', () => {
  it.each([
    ['READ', '/\0', '!EACCES'], ['READ', '/local/domain/0/name\0', '!EACCES'], ['DIRECTORY', '/local/domain\0', '!EACCES'],
    ['READ', '/tool/xenstored\0', '!EACCES'], ['WRITE', 'name\0other', '!EACCES'], ['WRITE', 'new\0', '!EACCES'],
    ['WRITE', '/new\0', '!EACCES'], ['MKDIR', 'memory/new\0', '!EACCES'], ['MKDIR', 'memory\0', '!EACCES'],
    ['RM', 'memory\0', '!EACCES'], ['RM', '/\0', '!EACCES'], ['SET_PERMS', 'memory\0b1\0', '!EACCES'],
    ['SET_PERMS', 'data\0b0\0', '!EACCES'], ['INTRODUCE', '1\x002\x003\0', '!EACCES'], ['RELEASE', '1\0', '!EACCES'],
    ['RESUME', '1\0', '!EACCES'], ['SET_TARGET', '1\x002\0', '!EACCES'], ['CONTROL', 'print\0x\0', '!EACCES'],
  ] as const)('%s %j: %s', (type, payload, answer) => {
    expect(ask(store(), type, payload)).toBe(answer);
  }); // biome-ignore format: a table
});

describe('what is no request', () => {
  it.each([
    ['READ', '', '!EINVAL'], ['READ', 'name', '!EINVAL'], ['READ', 'name\0x\0', '!EINVAL'], ['READ', '\0', '!EINVAL'],
    ['READ', 'name/\0', '!EINVAL'], ['READ', 'a//b\0', '!EINVAL'], ['READ', '//\0', '!EINVAL'], ['READ', 'a b\0', '!EINVAL'],
    ['READ', `${'a'.repeat(2049)}\0`, '!EINVAL'], ['READ', `/${'a'.repeat(3072)}\0`, '!EINVAL'], ['READ', '\xe4\0', '!EINVAL'],
    ['WRITE', 'data/x', '!EINVAL'], ['WATCH', 'device\0', '!EINVAL'], ['WATCH', 'a b\0token\0', '!EINVAL'],
    ['TRANSACTION_END', 'T\0', '!ENOENT'], ['TRANSACTION_END', 'X\0', '!EINVAL'], ['GET_DOMAIN_PATH', 'x\0', '!EINVAL'],
    ['GET_DOMAIN_PATH', '-1\0', '!EINVAL'], ['SET_PERMS', 'data\0', '!EINVAL'], ['SET_PERMS', 'data\0x1\0', '!EINVAL'],
    ['SET_PERMS', `data\0${'n1\0'.repeat(6)}`, '!ENOSPC'], ['DIRECTORY_PART', 'device\0', '!EINVAL'],
    ['UNWATCH', 'device\0token\0', '!ENOENT'], ['WATCH_EVENT', 'a\0b\0', '!ENOSYS'], ['ERROR', 'ENOENT\0', '!ENOSYS'],
  ] as const)('%s %j: %s', (type, payload, answer) => {
    expect(ask(store(), type, payload)).toBe(answer);
  }); // biome-ignore format: a table
});

describe('writing', () => {
  it('makes what is missing on the way, for the guest, as the directory above it is', () => {
    const connection = store();
    expect(ask(connection, 'WRITE', 'data/a/b\0\x01\0two')).toBe('OK\0');
    expect(ask(connection, 'READ', 'data/a/b\0')).toBe('\x01\0two');
    expect(ask(connection, 'READ', '/local/domain/1/data/a\0')).toBe('');
    expect(ask(connection, 'GET_PERMS', 'data/a/b\0')).toBe('n1\0');
    expect(ask(connection, 'MKDIR', 'data/a/c\0')).toBe('OK\0');
    expect(ask(connection, 'MKDIR', 'data/a\0')).toBe('OK\0');
    expect(ask(connection, 'DIRECTORY', 'data/a\0')).toBe('b\0c\0');
    expect(ask(connection, 'RM', 'data/a\0')).toBe('OK\0');
    expect(ask(connection, 'RM', 'data/a\0')).toBe('OK\0'); // it is gone
    expect(ask(connection, 'RM', 'data/x/y\0')).toBe('!ENOENT');
    expect(ask(connection, 'READ', 'data/a/b\0')).toBe('!ENOENT');
  });
  it('lets an owner say who else may read', () => {
    const connection = store();
    expect(ask(connection, 'SET_PERMS', 'data\0r1\0b3\0')).toBe('OK\0');
    expect(ask(connection, 'GET_PERMS', 'data\0')).toBe('r1\0b3\0');
  });
  it('ends at the quotas', () => {
    const connection = store();
    expect(ask(connection, 'WRITE', `data/big\0${'x'.repeat(2049)}`)).toBe('!ENOSPC');
    expect(ask(connection, 'WRITE', `data/big\0${'x'.repeat(2048)}`)).toBe('OK\0');
    let made = 1;
    while (ask(connection, 'WRITE', `data/n${made}\0`) === 'OK\0') made++;
    expect(made).toBe(1000);
    expect(ask(connection, 'WRITE', 'data/n1\0again')).toBe('OK\0');
    expect(ask(connection, 'RM', 'data/n1\0')).toBe('OK\0');
    expect(ask(connection, 'WRITE', 'data/other\0')).toBe('OK\0');
  });
  it('answers a list that is too long in parts', () => {
    const connection = store();
    const all = Array.from({ length: 600 }, (_, i) => `name-${i}`);
    for (const name of all) ask(connection, 'WRITE', `data/${name}\0`);
    expect(ask(connection, 'DIRECTORY', 'data\0')).toBe('!E2BIG');
    let [found, at, ends] = ['', 0, false];
    while (!ends) {
      const [, ...rest] = ask(connection, 'DIRECTORY_PART', `data\0${at}\0`).split('\0');
      const part = rest.join('\0');
      ends = part.endsWith('\0\0');
      found += ends ? part.slice(0, -1) : part;
      at = found.length;
    }
    expect(found.split('\0').slice(0, -1)).toEqual(all);
  });
});

describe('watches', () => {
  it('fire once when they are set, and for what changes at and below them', () => {
    const connection = store();
    expect(ask(connection, 'WATCH', 'data\0one\0')).toBe('OK\0');
    expect(ask(connection, 'WATCH', '/local/domain/1/data/x\0two\0')).toBe('OK\0');
    expect(events(connection)).toEqual(['data one', '/local/domain/1/data/x two']);
    ask(connection, 'WRITE', 'data/x/y\0value');
    expect(events(connection)).toEqual(['data/x/y one', '/local/domain/1/data/x/y two']);
    ask(connection, 'WRITE', 'data/xy\0value');
    expect(events(connection)).toEqual(['data/xy one']);
    ask(connection, 'WRITE', 'attr/x\0value');
    expect(events(connection)).toEqual([]);
    ask(connection, 'RM', 'data/x\0');
    expect(events(connection)).toEqual(['data/x/y one', '/local/domain/1/data/x/y two', 'data/x one', '/local/domain/1/data/x two']); // biome-ignore format: short
  });
  it('hear what the toolstack writes, and not what the guest may not read', () => {
    const connection = store();
    ask(connection, 'WATCH', 'control/shutdown\0t\0');
    ask(connection, 'WATCH', '/tool\0t\0');
    ask(connection, 'WATCH', '@releaseDomain\0t\0');
    events(connection);
    connection.writeAsToolstack('/local/domain/1/control/shutdown', 'poweroff');
    connection.writeAsToolstack('/tool/x', 'secret');
    expect(events(connection)).toEqual(['control/shutdown t']);
    expect(ask(connection, 'READ', 'control/shutdown\0')).toBe('poweroff');
  });
  it('can be set once by a token, taken back, and reset with the transactions', () => {
    const connection = store();
    ask(connection, 'WATCH', 'data\0t\0');
    expect(ask(connection, 'WATCH', 'data\0t\0')).toBe('!EEXIST');
    expect(ask(connection, 'WATCH', '/local/domain/1/data\0t\0')).toBe('!EEXIST');
    expect(ask(connection, 'UNWATCH', 'data\0t\0')).toBe('OK\0');
    ask(connection, 'WATCH', 'data\0t\0');
    const tx = Number.parseInt(ask(connection, 'TRANSACTION_START', '\0'), 10);
    expect(ask(connection, 'RESET_WATCHES', '\0')).toBe('OK\0');
    expect(ask(connection, 'UNWATCH', 'data\0t\0')).toBe('!ENOENT');
    expect(ask(connection, 'TRANSACTION_END', 'T\0', tx)).toBe('!ENOENT');
  });
  it('are 128 at most', () => {
    const connection = store();
    for (let i = 0; i < 128; i++) expect(ask(connection, 'WATCH', `data\0t${i}\0`)).toBe('OK\0');
    expect(ask(connection, 'WATCH', 'data\0t\0')).toBe('!E2BIG');
  });
});

describe('transactions', () => {
  const begin = (connection: StoreConnection) => Number.parseInt(ask(connection, 'TRANSACTION_START', '\0'), 10);
  it('show what they have written to nobody else, until their end; watches fire then', () => {
    const connection = store();
    ask(connection, 'WATCH', 'data\0t\0');
    events(connection);
    const tx = begin(connection);
    ask(connection, 'WRITE', 'data/a\x001', tx);
    expect([ask(connection, 'READ', 'data/a\0', tx), ask(connection, 'READ', 'data/a\0')]).toEqual(['1', '!ENOENT']);
    expect(events(connection)).toEqual([]);
    expect(ask(connection, 'TRANSACTION_END', 'T\0', tx)).toBe('OK\0');
    expect(ask(connection, 'READ', 'data/a\0')).toBe('1');
    expect(events(connection)).toEqual(['data/a t']);
    expect(ask(connection, 'READ', 'data/a\0', tx)).toBe('!ENOENT');
  });
  it('are dropped with F, and with EAGAIN when something else has changed', () => {
    const connection = store();
    const [one, two] = [begin(connection), begin(connection)];
    ask(connection, 'WRITE', 'data/a\x001', one);
    expect(ask(connection, 'TRANSACTION_END', 'F\0', one)).toBe('OK\0');
    ask(connection, 'WRITE', 'data/b\x002');
    expect(ask(connection, 'TRANSACTION_END', 'T\0', two)).toBe('!EAGAIN');
    expect(ask(connection, 'READ', 'data/a\0')).toBe('!ENOENT');
  });
  it('do not nest, and are 10 at most', () => {
    const connection = store();
    const tx = begin(connection);
    expect(ask(connection, 'TRANSACTION_START', '\0', tx)).toBe('!EBUSY');
    for (let i = 1; i < 10; i++) begin(connection);
    expect(ask(connection, 'TRANSACTION_START', '\0')).toBe('!ENOSPC');
  });
});

describe('any request at all', () => {
  const words = fc.constantFrom('data', 'data/x', 'device', '/', '', 'a//b', '@x', 'T', 'F', '0', '1', 'n1', 'b1', '99999999999', '\xff', 'control/shutdown'); // biome-ignore format: short
  const payload = fc.oneof(
    fc.uint8Array({ maxLength: 64 }).map(plain),
    fc.array(words, { maxLength: 4 }).map((list) => list.map((word) => `${word}\0`).join('')),
  );
  const request = fc.record({ type: fc.nat(30), txId: fc.oneof(fc.constant(0), fc.nat(3)), payload });
  it('gets an answer that fits, and leaves alone what the guest may not write', () => {
    fc.assert(
      fc.property(fc.array(request, { maxLength: 40 }), (requests) => {
        const connection = store();
        for (const one of requests) {
          const reply = connection.answer({ ...one, payload: latin(one.payload) });
          expect(reply.payload.length).toBeLessThanOrEqual(4096);
          if (reply.type === XS_TYPE.ERROR) expect(plain(reply.payload)).toMatch(/^E[A-Z0-9]+\0$/);
        }
        expect(plain(connection.tree.get('/local/domain/1/memory/target', 0, 'r').value)).toBe('262144');
        expect([...connection.tree.root.children.keys()]).toEqual(['tool', 'local', 'vm']);
      }),
      { numRuns: 300 },
    );
  });
});
