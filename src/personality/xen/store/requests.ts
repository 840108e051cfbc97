/** What a guest may ask of xenstore: one row for each request, and the watches.
 *
 * A request names a path, absolute or under the guest's own directory, and has a transaction number, or 0. Whoever
 * changes something fires the watches on it and above it; a new watch fires once, so that its owner looks at once.
 * A transaction works on the tree as it was at its start and is put in place at its end, if nothing else has moved.
 * Follows: docs/misc/xenstore.txt; tools/xenstored/xenstored_{core,watch,transaction,domain}.c; limits are its quotas.
 * May not: know where bytes come from (ring.ts does).   Next: personality/xen/store/ring.ts. */
import { anything, bytes, listOf, record, type Saved, text as savedText, whole } from '../../../base/saved.ts';
import { XS_TYPE } from '../../../layout/xen/rings.ts';
import { type Access, mayUse, type Permissions, StoreRefusal, StoreTree } from './tree.ts';

export type Reply = { type: number; payload: Uint8Array };
export type Request = { type: number; txId: number; payload: Uint8Array };

/** XENSTORE_PAYLOAD_MAX. */
export const MOST_PAYLOAD = 4096;
const LONGEST_PATH = 3072;
const LONGEST_RELATIVE = 2048;
const MOST_WATCHES = 128;
const MOST_TRANSACTIONS = 10;
const MOST_PERMISSIONS = 5;

const OK = latin('OK\0');

/** One guest's connection: its watches and transactions over the tree that all share. */
export class StoreConnection {
  tree: StoreTree;
  readonly #domid: number;
  /** Watch events that wait to be sent, oldest first. */
  readonly events: Uint8Array[] = [];
  #watches: { path: string; given: string; token: string }[] = [];
  readonly #transactions = new Map<number, Transaction>();
  #lastTransaction = 0;
  /** Grows with each change of the tree. */
  #generation = 0;

  constructor(tree: StoreTree, domid: number) {
    this.tree = tree;
    this.#domid = domid;
  }

  save(): Saved {
    return {
      tree: this.tree.save(),
      events: this.events,
      watches: this.#watches.map((watch) => ({ ...watch })),
      transactions: [...this.#transactions].map(([number, { tree, generation, changed }]) => {
        return { number, tree: tree.save(), generation, changed };
      }),
      lastTransaction: this.#lastTransaction,
      generation: this.#generation,
    };
  }

  restore(saved: Saved, where: string): void {
    const one = { number: whole(), tree: anything, generation: whole(), changed: listOf(savedText) };
    const state = record({
      tree: anything,
      events: listOf(bytes()),
      watches: listOf(record({ path: savedText, given: savedText, token: savedText })),
      transactions: listOf(record(one)),
      lastTransaction: whole(0xffff_ffff),
      generation: whole(),
    })(saved, where);
    this.tree = StoreTree.from(state.tree, `${where}.tree`);
    this.events.splice(0, this.events.length, ...state.events);
    this.#watches = state.watches;
    this.#transactions.clear();
    for (const { number, tree, generation, changed } of state.transactions)
      this.#transactions.set(number, { tree: StoreTree.from(tree, `${where}.transactions`), generation, changed });
    this.#lastTransaction = state.lastTransaction;
    this.#generation = state.generation;
  }

  /** The answer to a request; never throws for anything that a guest can send. */
  answer(request: Request): Reply {
    try {
      const act = REQUESTS[request.type];
      if (!act) throw new StoreRefusal('ENOSYS');
      const payload = act(this, request);
      if (payload.length > MOST_PAYLOAD) throw new StoreRefusal('E2BIG');
      return { type: request.type, payload };
    } catch (e) {
      if (!(e instanceof StoreRefusal)) throw e;
      return { type: XS_TYPE.ERROR, payload: latin(`${e.error}\0`) };
    }
  }

  /** What the toolstack writes, as domain 0. */
  writeAsToolstack(path: string, value: string): void {
    this.#commit(this.tree.write(path, latin(value), 0), [path]);
  }

  get domid(): number {
    return this.#domid;
  }

  /** The tree that a request sees. */
  treeOf(txId: number): StoreTree {
    return txId === 0 ? this.tree : this.#transaction(txId).tree;
  }

  /** Puts a changed tree in place, or into the transaction; `paths` fire then. */
  change(txId: number, tree: StoreTree, paths: readonly string[]): void {
    if (txId === 0) {
      this.#commit(tree, paths);
      return;
    }
    const transaction = this.#transaction(txId);
    transaction.tree = tree;
    transaction.changed.push(...paths);
  }

  #commit(tree: StoreTree, paths: readonly string[]): void {
    this.tree = tree;
    this.#generation++;
    for (const path of new Set(paths)) this.#fire(path);
  }

  get generation(): number {
    return this.#generation;
  }

  #transaction(txId: number): Transaction {
    const found = this.#transactions.get(txId);
    if (!found) throw new StoreRefusal('ENOENT');
    return found;
  }

  begin(): number {
    if (this.#transactions.size >= MOST_TRANSACTIONS) throw new StoreRefusal('ENOSPC');
    do {
      this.#lastTransaction = (this.#lastTransaction + 1) >>> 0;
    } while (this.#lastTransaction === 0 || this.#transactions.has(this.#lastTransaction));
    this.#transactions.set(this.#lastTransaction, { tree: this.tree, generation: this.#generation, changed: [] });
    return this.#lastTransaction;
  }

  end(txId: number, keep: boolean): void {
    const transaction = this.#transaction(txId);
    this.#transactions.delete(txId);
    if (!keep) return;
    if (transaction.generation !== this.#generation) throw new StoreRefusal('EAGAIN');
    if (transaction.changed.length > 0) this.#commit(transaction.tree, transaction.changed);
  }

  // ---- Watches

  watch(given: string, token: string): void {
    const path = given.startsWith('@') ? given : canonical(given, this.#domid);
    if (this.#watches.some((watch) => watch.path === path && watch.token === token)) throw new StoreRefusal('EEXIST');
    if (this.#watches.length >= MOST_WATCHES) throw new StoreRefusal('E2BIG');
    this.#watches.push({ path, given, token });
    this.#tell(given, token);
  }

  unwatch(given: string, token: string): void {
    const path = given.startsWith('@') ? given : canonical(given, this.#domid);
    const at = this.#watches.findIndex((watch) => watch.path === path && watch.token === token);
    if (at < 0) throw new StoreRefusal('ENOENT');
    this.#watches.splice(at, 1);
  }

  reset(): void {
    this.#watches = [];
    this.#transactions.clear();
  }

  #fire(path: string): void {
    const there = this.tree.find(path) ?? this.tree.nearest(path);
    if (!mayUse(there, this.#domid, 'r')) return;
    for (const watch of this.#watches) {
      if (watch.path !== path && !path.startsWith(watch.path === '/' ? '/' : `${watch.path}/`)) continue;
      // Told in the words of the watch: relative to the guest's directory if it was given so.
      const told = watch.given.startsWith('/') ? path : path.slice(home(this.#domid).length + 1);
      this.#tell(told, watch.token);
    }
  }

  #tell(path: string, token: string): void {
    this.events.push(latin(`${path}\0${token}\0`));
  }
}

type Transaction = { tree: StoreTree; generation: number; changed: string[] };

export const home = (domid: number): string => `/local/domain/${domid}`;

/** An absolute path of a guest's path, checked. */
function canonical(given: string, domid: number): string {
  const isAbsolute = given.startsWith('/');
  const path = isAbsolute ? given : `${home(domid)}/${given}`;
  const bad = given === '' || !/^[-A-Za-z0-9_@/]+$/.test(given) || path.includes('//') || (path !== '/' && path.endsWith('/'));
  if (bad || path.length > LONGEST_PATH || (!isAbsolute && given.length > LONGEST_RELATIVE)) throw new StoreRefusal('EINVAL');
  return path;
} // biome-ignore format: conditions

// ---- Payloads

/** Bytes of a text in which each character is one. */
function latin(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
function text(bytes: Uint8Array): string {
  let out = '';
  for (const byte of bytes) out += String.fromCharCode(byte);
  return out;
}

/** Exactly `count` strings, each ended by a NUL. */
function strings(payload: Uint8Array, count: number): string[] {
  const all = text(payload).split('\0');
  if (all.pop() !== '' || all.length !== count) throw new StoreRefusal('EINVAL');
  return all;
}

/** A string and what follows it. */
function headed(payload: Uint8Array): { first: string; rest: Uint8Array } {
  const end = payload.indexOf(0);
  if (end < 0) throw new StoreRefusal('EINVAL');
  return { first: text(payload.subarray(0, end)), rest: payload.subarray(end + 1) };
}

function number(word: string): number {
  if (!/^\d{1,10}$/.test(word)) throw new StoreRefusal('EINVAL');
  return Number(word);
}

const names = (children: ReadonlyMap<string, unknown>): Uint8Array =>
  latin([...children.keys()].map((name) => `${name}\0`).join(''));

const printed = (permissions: Permissions): Uint8Array =>
  latin(permissions.map(({ access, domid }) => `${access}${domid}\0`).join(''));

function permissionsOf(words: readonly string[]): Permissions {
  if (words.length === 0) throw new StoreRefusal('EINVAL');
  if (words.length > MOST_PERMISSIONS) throw new StoreRefusal('ENOSPC');
  return words.map((word) => {
    if (!/^[nrwb]/.test(word)) throw new StoreRefusal('EINVAL');
    return { access: word[0] as Access, domid: number(word.slice(1)) };
  });
}

// ---- The rows

type Act = (store: StoreConnection, request: Request) => Uint8Array;
/** Only the privileged domain may. */
const privileged: Act = () => {
  throw new StoreRefusal('EACCES');
};
const onePath = (store: StoreConnection, { payload }: Request) => canonical(strings(payload, 1)[0], store.domid);

const REQUESTS: Readonly<Record<number, Act>> = {
  [XS_TYPE.CONTROL]: privileged,
  [XS_TYPE.DIRECTORY]: (store, request) => names(readable(store, request).children),
  [XS_TYPE.READ]: (store, request) => readable(store, request).value,
  [XS_TYPE.GET_PERMS]: (store, request) => printed(readable(store, request).permissions),
  [XS_TYPE.WATCH](store, { payload }) {
    const [path, token] = strings(payload, 2);
    store.watch(path, token);
    return OK;
  },
  [XS_TYPE.UNWATCH](store, { payload }) {
    const [path, token] = strings(payload, 2);
    store.unwatch(path, token);
    return OK;
  },
  [XS_TYPE.TRANSACTION_START](store, { txId }) {
    if (txId !== 0) throw new StoreRefusal('EBUSY');
    return latin(`${store.begin()}\0`);
  },
  [XS_TYPE.TRANSACTION_END](store, { txId, payload }) {
    const [how] = strings(payload, 1);
    if (how !== 'T' && how !== 'F') throw new StoreRefusal('EINVAL');
    store.end(txId, how === 'T');
    return OK;
  },
  [XS_TYPE.INTRODUCE]: privileged,
  [XS_TYPE.RELEASE]: privileged,
  [XS_TYPE.GET_DOMAIN_PATH]: (_, { payload }) => latin(`${home(number(strings(payload, 1)[0]))}\0`),
  [XS_TYPE.WRITE](store, { txId, payload }) {
    const { first, rest } = headed(payload);
    const path = canonical(first, store.domid);
    store.change(txId, store.treeOf(txId).write(path, rest.slice(), store.domid), [path]);
    return OK;
  },
  [XS_TYPE.MKDIR](store, request) {
    const path = onePath(store, request);
    const tree = store.treeOf(request.txId);
    const there = tree.find(path);
    if (there && !mayUse(there, store.domid, 'w')) throw new StoreRefusal('EACCES');
    if (!there) store.change(request.txId, tree.write(path, new Uint8Array(), store.domid), [path]);
    return OK;
  },
  [XS_TYPE.RM](store, request) {
    const path = onePath(store, request);
    const tree = store.treeOf(request.txId);
    const above = path.slice(0, path.lastIndexOf('/')) || '/';
    if (!tree.find(path) && tree.find(above) && mayUse(tree.nearest(path), store.domid, 'w')) return OK; // it is gone
    tree.get(path, store.domid, 'w');
    if (path === '/') throw new StoreRefusal('EINVAL');
    const { tree: after, removed } = tree.remove(path);
    store.change(request.txId, after, removed);
    return OK;
  },
  [XS_TYPE.SET_PERMS](store, { txId, payload }) {
    const { first, rest } = headed(payload);
    const path = canonical(first, store.domid);
    const words = text(rest).split('\0');
    if (words.pop() !== '') throw new StoreRefusal('EINVAL');
    const permissions = permissionsOf(words);
    const tree = store.treeOf(txId);
    const there = tree.get(path, store.domid, 'w');
    const owner = there.permissions[0].domid;
    if (owner !== store.domid || permissions[0].domid !== owner) throw new StoreRefusal('EACCES');
    store.change(txId, tree.setPermissions(path, permissions), [path]);
    return OK;
  },
  [XS_TYPE.IS_DOMAIN_INTRODUCED](store, { payload }) {
    const domid = number(strings(payload, 1)[0]);
    return latin(domid === store.domid || domid === 0 ? 'T\0' : 'F\0');
  },
  [XS_TYPE.RESUME]: privileged,
  [XS_TYPE.SET_TARGET]: privileged,
  [XS_TYPE.RESET_WATCHES](store) {
    store.reset();
    return OK;
  },
  [XS_TYPE.DIRECTORY_PART](store, { txId, payload }) {
    const [given, offset] = strings(payload, 2);
    const list = names(store.treeOf(txId).get(canonical(given, store.domid), store.domid, 'r').children);
    const from = number(offset);
    const head = latin(`${store.generation}\0`);
    if (from > list.length) return head;
    // Whole names, as many as there is room for; the end of the list is an empty one.
    let end = list.length;
    if (head.length + (end - from) + 1 > MOST_PAYLOAD)
      end = list.lastIndexOf(0, from + MOST_PAYLOAD - head.length - 2) + 1;
    const last = end === list.length ? [0] : [];
    return Uint8Array.from([...head, ...list.subarray(from, end), ...last]);
  },
};

function readable(store: StoreConnection, request: Request) {
  return store.treeOf(request.txId).get(onePath(store, request), store.domid, 'r');
}
