/** The tree of xenstore: names, values, and who may read and write them.
 *
 * A tree never changes: each change makes a new root that shares all that stayed with the old one, so a transaction is
 * a root that somebody holds on to. Nodes that a guest makes are its own; those that it may make them under are few.
 * Follows: docs/misc/xenstore.txt; tools/xenstored (get_node, construct_node, do_rm).
 * May not: know a wire format or a watch.   Next: personality/xen/store/requests.ts. */

import { bytes, listOf, misfit, oneOf, record, type Saved, text, whole } from '../../../base/saved.ts';

/** none, read, write, both. */
export type Access = 'n' | 'r' | 'w' | 'b';
/** The first names the owner, and what everybody has who is not named; owner and domain 0 may do all. */
export type Permissions = readonly { access: Access; domid: number }[];

export type Node = {
  readonly value: Uint8Array;
  readonly permissions: Permissions;
  /** In the order in which they were made. */
  readonly children: ReadonlyMap<string, Node>;
};

export type StoreError =
  | 'EACCES' | 'EAGAIN' | 'EBUSY' | 'E2BIG' | 'EEXIST' | 'EINVAL' | 'ENOENT' | 'ENOSPC' | 'ENOSYS'; // biome-ignore format: a list

/** What a request throws; not an Error, since a guest makes it. */
export class StoreRefusal {
  readonly error: StoreError;
  constructor(error: StoreError) {
    this.error = error;
  }
}
const refuse = (error: StoreError): never => {
  throw new StoreRefusal(error);
};

/** Longest absolute path, most nodes and longest value (of 2048 bytes) that a guest may make: xenstored's quotas. */
const MOST_NODES = 1000;
const LONGEST_VALUE = 2048;

export class StoreTree {
  readonly root: Node;
  /** Nodes that the guest has made. */
  readonly guestNodes: number;

  constructor(root: Node = node(new Uint8Array(), [{ access: 'n', domid: 0 }]), guestNodes = 0) {
    this.root = root;
    this.guestNodes = guestNodes;
  }

  /** The nodes with their paths, each behind the one above it; a guest may make paths deeper than lists should be. */
  save(): Saved {
    const nodes: Saved[] = [];
    const list = (here: Node, path: string): void => {
      nodes.push({ path, value: here.value, permissions: here.permissions.map((entry) => ({ ...entry })) });
      for (const [name, child] of here.children) list(child, `${path}/${name}`);
    };
    list(this.root, '');
    return { nodes, guestNodes: this.guestNodes };
  }

  static from(saved: Saved, where: string): StoreTree {
    const permission = record({ access: oneOf<Access>('n', 'r', 'w', 'b'), domid: whole() });
    const one = record({ path: text, value: bytes(), permissions: listOf(permission) });
    const { nodes, guestNodes } = record({ nodes: listOf(one), guestNodes: whole() })(saved, where);
    const made = new Map<string, { value: Uint8Array; permissions: Permissions; children: Map<string, Node> }>();
    for (const { path, value, permissions } of nodes) {
      const last = path.lastIndexOf('/');
      const above = made.get(path.slice(0, Math.max(0, last)));
      if (permissions.length === 0 || made.has(path) || (path !== '' && !above)) throw misfit(where, 'it is no tree');
      const here = { value, permissions, children: new Map<string, Node>() };
      made.set(path, here);
      above?.children.set(path.slice(last + 1), here);
    }
    const root = made.get('');
    if (!root) throw misfit(where, 'it has no root');
    return new StoreTree(root, guestNodes);
  }

  find(path: string): Node | undefined {
    let here: Node | undefined = this.root;
    for (const name of parts(path)) here = here?.children.get(name);
    return here;
  }

  /** The node, if there is one that this domain may use so. */
  get(path: string, domid: number, wanted: 'r' | 'w'): Node {
    const found = this.find(path);
    if (found) return mayUse(found, domid, wanted) ? found : refuse('EACCES');
    // Whether something is there is told only to those who may look.
    return mayUse(this.nearest(path), domid, wanted) ? refuse('ENOENT') : refuse('EACCES');
  }

  /** The last node on the way to a path that exists. */
  nearest(path: string): Node {
    let here = this.root;
    for (const name of parts(path)) {
      const next = here.children.get(name);
      if (!next) break;
      here = next;
    }
    return here;
  }

  /** Writes a value, and makes what is missing on the way. */
  write(path: string, value: Uint8Array, domid: number): StoreTree {
    const there = this.find(path);
    if (!mayUse(there ?? this.nearest(path), domid, 'w')) refuse('EACCES');
    if (domid !== 0 && value.length > LONGEST_VALUE) refuse('ENOSPC');
    let made = 0;
    const put = (at: Node | undefined, above: Permissions, names: readonly string[]): Node => {
      let here = at;
      if (!here) {
        made++;
        here = node(new Uint8Array(), inherited(above, domid));
      }
      if (names.length === 0) return { ...here, value };
      const children = new Map(here.children);
      children.set(names[0], put(here.children.get(names[0]), here.permissions, names.slice(1)));
      return { ...here, children };
    };
    const root = put(this.root, this.root.permissions, parts(path));
    const guestNodes = this.guestNodes + (domid === 0 ? 0 : made);
    if (guestNodes > MOST_NODES) refuse('ENOSPC');
    return new StoreTree(root, guestNodes);
  }

  /** The node with all below it; each removed path, children first. */
  remove(path: string): { tree: StoreTree; removed: string[] } {
    const gone = this.find(path);
    if (!gone) return { tree: this, removed: [] };
    const removed: string[] = [];
    let owned = 0;
    const list = (below: Node, name: string): void => {
      for (const [child, next] of below.children) list(next, `${name}/${child}`);
      if (below.permissions[0].domid !== 0) owned++;
      removed.push(name);
    };
    list(gone, path);
    const root = this.#changed(path, undefined);
    return { tree: new StoreTree(root, Math.max(0, this.guestNodes - owned)), removed };
  }

  setPermissions(path: string, permissions: Permissions): StoreTree {
    const there = this.find(path) ?? refuse('ENOENT');
    return new StoreTree(this.#changed(path, { ...there, permissions }), this.guestNodes);
  }

  /** A root in which an existing node is another, or gone. */
  #changed(path: string, to: Node | undefined): Node {
    const put = (here: Node, names: readonly string[]): Node => {
      const [name, ...rest] = names;
      const children = new Map(here.children);
      const child = here.children.get(name) as Node;
      const changed = rest.length === 0 ? to : put(child, rest);
      if (changed) children.set(name, changed);
      else children.delete(name);
      return { ...here, children };
    };
    const names = parts(path);
    return names.length === 0 ? (to as Node) : put(this.root, names);
  }
}

const node = (value: Uint8Array, permissions: Permissions): Node => ({ value, permissions, children: new Map() });

const parts = (path: string): string[] => (path === '/' ? [] : path.slice(1).split('/'));

export function mayUse({ permissions }: Node, domid: number, wanted: 'r' | 'w'): boolean {
  if (domid === 0 || permissions[0].domid === domid) return true;
  const access = (permissions.slice(1).find((entry) => entry.domid === domid) ?? permissions[0]).access;
  return access === 'b' || access === wanted;
}

/** A new node is like the one above it; what a guest makes is its own. */
function inherited(above: Permissions, domid: number): Permissions {
  return domid === 0 ? above : [{ ...above[0], domid }, ...above.slice(1)];
}
