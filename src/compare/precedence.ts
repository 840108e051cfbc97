/** Steps that must come before others on a path, known from bugs in which they did not.
 *
 * Where only one path takes a step, no other path shows in which order it belongs; history does. A row applies when the
 * later step ran, and the kernel has the earlier one: a compiler may have made it part of its caller.
 * Follows: the bugs that each row names, Linux arch/x86/{xen,kernel}.   Next: compare/order.ts. */
import { kindOf, type PathKind } from './allowed.ts';
import type { Evidence, Finding } from './findings.ts';
import { type KnownFunctions, runEvidence } from './one-path-functions.ts';
import type { PathView } from './path-view.ts';

type Precedence = {
  first: string;
  /** The first of these that ran is the step that must wait. */
  before: readonly string[];
  on?: readonly PathKind[];
  why: string;
};

const PRECEDENCE: readonly Precedence[] = [
  {
    first: 'kasan_early_init',
    before: [
      '__asan_memset',
      '__asan_memcpy',
      'check_memory_region',
      'kasan_check_range',
      '__asan_load8',
      '__asan_store8',
    ],
    why: 'instrumented code looks into the shadow of what it touches, and dies where none is mapped ("fix unbootable VMs by inlining memset() in xen_prepare_pvh()")',
  },
  {
    first: 'x86_configure_nx',
    before: ['xen_setup_gdt'],
    on: ['xen-pv'],
    why: 'the GDT is mapped with NX, which a hypervisor refuses on a CPU without ("x86/Xen: swap NX determination and GDT setup on BSP")',
  },
  {
    first: 'get_cpu_address_sizes',
    before: ['xen_setup_kernel_pagetable', 'kasan_early_init', 'x86_64_start_reservations'],
    on: ['xen-pv'],
    why: 'page-table entries are masked with the width of physical addresses, and nothing is left of them while it is 0',
  },
  {
    first: 'xen_early_iret_patch',
    before: ['x86_64_start_reservations', 'start_kernel'],
    on: ['xen-pv'],
    why: 'until then the way back from an exception is the native IRET, to a ring that Xen does not give away',
  },
  {
    first: 'early_reserve_memory',
    before: ['e820__memory_setup'],
    why: 'making the memory map may take memory, on Xen it does; what is not reserved by then is overwritten',
  },
  {
    first: 'sparse_init',
    before: ['xen_after_bootmem', 'init_after_bootmem'],
    why: 'the hook marks page tables in their struct pages, which sparse_init makes',
  },
];

export function precedenceFindings(views: readonly PathView[], known: KnownFunctions): Finding[] {
  return PRECEDENCE.flatMap((row) => {
    const broken = views.filter((view) => (row.on?.includes(kindOf(view.via)) ?? true) && isBroken(row, view, known));
    if (broken.length === 0) return [];
    const paths = broken.map(({ via }) => via);
    const then = waiting(row, broken[0]) ?? row.before[0];
    const ran = broken[0].functions.has(row.first);
    const finding: Finding = {
      id: `order/${row.first}/${paths.join('+')}`,
      kind: 'order',
      paths,
      subject: row.first,
      title: `${paths.join(', ')}: ${then} comes ${ran ? `before ${row.first}` : `without ${row.first}`}, which it needs`,
      why: row.why,
      evidence: broken.flatMap((view): Evidence[] =>
        [row.first, then].map((name) => {
          const { path, text, ...when } = runEvidence(view, name);
          return { path, text: `${name}: ${text}`, ...when };
        }),
      ),
    };
    return [finding];
  });
}

const waiting = ({ before }: Precedence, view: PathView): string | undefined =>
  before.find((name) => view.functions.has(name));

function isBroken(row: Precedence, view: PathView, known: KnownFunctions): boolean {
  const then = waiting(row, view);
  if (then === undefined) return false;
  const first = view.functions.get(row.first);
  if (first === undefined) return known(view.via)?.has(row.first) === true;
  return first.first > (view.functions.get(then)?.first ?? 0);
}
