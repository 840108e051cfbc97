/** What a toolstack has written into xenstore before a domain without devices runs.
 *
 * The directories that stay empty matter, too: a kernel that finds no `device` has no frontends to wait for. What the
 * guest may write (control/*, data, drivers, feature, attr, error) is its own, the rest it may read.
 * Follows: tools/libs/light/libxl_create.c (libxl__domain_make), libxl_dom.c, docs/misc/xenstore-paths.pandoc.
 * Next: personality/xen/hvm/index.ts. */
import { home } from './requests.ts';
import { type Permissions, StoreTree } from './tree.ts';

export type StoreSeed = {
  domid: number;
  /** KiB. */
  memory: number;
  /** Event channels, and the frames that the toolstack would name. */
  store: { port: number; frame: number };
  console: { port: number; frame: number };
};

const UUID = '00000000-0000-0000-0000-000000000001';
const NAME = 'guest';

/** Under the domain's own directory: [path, value], those that the guest may write first. */
function nodes({ domid, memory, store, console }: StoreSeed) {
  const vm = `/vm/${UUID}`;
  const guests = [
    'control/shutdown', 'control/feature-poweroff', 'control/feature-reboot', 'control/feature-suspend',
    'control/sysrq', 'device/suspend/event-channel', 'data', 'drivers', 'feature', 'attr', 'error',
  ].map((path) => [path, ''] as const);
  const toolstacks = [
    ['vm', vm],
    ['name', NAME],
    ['domid', String(domid)],
    ['cpu/0/availability', 'online'],
    ['memory/static-max', String(memory)],
    ['memory/target', String(memory)],
    ['memory/videoram', '0'],
    ['device', ''],
    ['control', ''],
    ['control/platform-feature-multiprocessor-suspend', '1'],
    ['control/platform-feature-xs_reset_watches', '1'],
    ['store/port', String(store.port)],
    ['store/ring-ref', String(store.frame)],
    ['console/backend-id', '0'],
    ['console/type', 'xenconsoled'],
    ['console/output', 'pty'],
    ['console/limit', '1048576'],
    ['console/port', String(console.port)],
    ['console/ring-ref', String(console.frame)],
  ] as const;
  return { vm, guests, toolstacks };
} // biome-ignore format: tables

export function seededTree(seed: StoreSeed): StoreTree {
  const { domid } = seed;
  const { vm, guests, toolstacks } = nodes(seed);
  const readOnly: Permissions = [{ access: 'n', domid: 0 }, { access: 'r', domid }]; // biome-ignore format: short
  const own: Permissions = [{ access: 'n', domid }];
  const encode = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
  let tree = new StoreTree();
  const put = (path: string, value: string, permissions?: Permissions) => {
    tree = tree.write(path, encode(value), 0);
    if (permissions) tree = tree.setPermissions(path, permissions);
  };
  put('/tool/xenstored', '');
  put('/local/domain', '');
  // What is made below has the permissions of what is above it.
  put(home(domid), '', readOnly);
  put(vm, '', readOnly);
  put(`${vm}/uuid`, UUID);
  put(`${vm}/name`, NAME);
  for (const [path, value] of toolstacks) put(`${home(domid)}/${path}`, value);
  for (const [path, value] of guests) put(`${home(domid)}/${path}`, value, own);
  return tree;
}
