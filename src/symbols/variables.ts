/** The type that a kernel variable has.
 *
 * A stock kernel's BTF describes types, and of the variables only those of the per-CPU area; `boot_params` as a variable is
 * not in it. The few that a boot is judged by are named here with the type that the kernel's source gives them. Our own
 * guest describes its variables, and what a kernel says of itself comes first.
 * Follows: the declarations in Linux 6.1 and 6.12, as their DWARF has them.
 * May not: guess; a variable that is described nowhere has no type.   Next: boot/plan.ts. */
import { MiB } from '../base/numbers.ts';
import type { Btf } from './btf.ts';
import { sizeOfNamed } from './flatten.ts';
import type { SymbolSource } from './symbol-list.ts';

/** As C names them; `[n]` behind a type makes an array. */
export const VARIABLE_TYPES: Readonly<Record<string, string>> = {
  boot_params: 'struct boot_params',
  pvh_bootparams: 'struct boot_params',
  pvh_start_info: 'struct hvm_start_info',
  boot_command_line: 'char[2048]',
  boot_cpu_data: 'struct cpuinfo_x86',
  pv_ops: 'struct paravirt_patch_template',
  pv_info: 'struct pv_info',
  xen_domain_type: 'enum xen_domain_type',
  x86_hyper_type: 'enum x86_hypervisor_type',
  x86_init: 'struct x86_init_ops',
  x86_platform: 'struct x86_platform_ops',
  machine_ops: 'struct machine_ops',
  init_task: 'struct task_struct',
  init_mm: 'struct mm_struct',
  memblock: 'struct memblock',
  screen_info: 'struct screen_info',
  mtrr_state: 'struct mtrr_state_type',
  idt_table: 'gate_desc[256]',
};

export type KernelVariable = {
  name: string;
  /** Where it is linked; of a per-CPU variable what symbols/per-cpu.ts adds the CPU's base to. */
  address: bigint;
  perCpu: boolean;
  /** For `decode` and `flatten`. */
  type: string | number;
  /** In bytes. */
  size: number;
};

/** More than any variable that is worth decoding; a damaged type must not make anybody read more. */
const LARGEST = 16 * MiB;

/** A variable by its name; undefined when the kernel lacks the symbol or the type is not known. `type` overrules. */
export function kernelVariable(
  table: Pick<SymbolSource, 'address'>,
  btf: Btf,
  name: string,
  type?: string,
): KernelVariable | undefined {
  const address = table.address(name);
  if (address === undefined) return undefined;
  const described = btf.variable(name);
  const perCpu = described?.section === '.data..percpu';
  if (type === undefined && described) {
    return sized({ name, address, perCpu, type: described.type, size: btf.sizeOf(described.type) });
  }
  const named = type ?? VARIABLE_TYPES[name];
  // A kernel built without the feature lacks the type; a type that the user names is the user's to get right.
  if (named === undefined || (type === undefined && btf.find(named.replace(/\[\d+\]$/, '')) === undefined))
    return undefined;
  return sized({ name, address, perCpu, type: named, size: sizeOfNamed(btf, named) });
}

function sized(variable: KernelVariable): KernelVariable | undefined {
  return variable.size > 0 && variable.size <= LARGEST ? variable : undefined;
}
