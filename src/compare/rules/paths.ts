/** The names of entry paths as rules write them, and the groups that several of them make.
 *
 * The groups follow Linux's hardware subarchitectures (boot_params.hdr.hardware_subarch): `pc` is X86_SUBARCH_PC, where
 * the guest owns what looks like a machine; on a `pv` path it never does, and a hypervisor answers for its hardware.
 * May not: know how a path boots.   Next: compare/rules/rule.ts. */

export const PATHS = [
  'lguest', 'linux32', 'linux64', 'pvh', 'xen-pvh', 'xen-pv', 'xen-pv32', 'multiboot', 'flat32', 'flat64',
] as const; // biome-ignore format: a list

export const PATH_GROUPS: Readonly<Record<string, readonly string[]>> = {
  all: PATHS,
  pc: ['linux32', 'linux64', 'pvh', 'xen-pvh', 'multiboot', 'flat32', 'flat64'],
  pv: ['lguest', 'xen-pv', 'xen-pv32'],
  xen: ['xen-pvh', 'xen-pv', 'xen-pv32'],
};

/** The paths that a name stands for; undefined when it is no path and no group. */
export function pathsNamed(name: string): readonly string[] | undefined {
  if (Object.hasOwn(PATH_GROUPS, name)) return PATH_GROUPS[name];
  return (PATHS as readonly string[]).includes(name) ? [name] : undefined;
}
