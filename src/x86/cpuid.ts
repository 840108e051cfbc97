/** CPUID: which CPU the guest is shown.
 *
 * A table of features, each with its bit and whether zeropage has built what the bit promises; models are sets of
 * feature names. What a model shows works; what it hides raises #UD; what is not built can be asked for by no flag.
 * The default is a late AMD K8 (family 0xf, model 0x6b) without the extras: a stock Linux then needs no page-table
 * isolation and copies by REP MOVSQ. `max` shows everything that is built.
 * Follows: AMD64 Manual Vol. 3, appendix E; SDM Vol. 2, CPUID. Null loads of FS and GS, SYSCALL and SYSENTER are AMD's.
 * May not: execute anything (engine/system/control.ts does).   Next: memory/address.ts. */
import { VmError } from '../base/errors.ts';

type Register = 'eax' | 'ebx' | 'ecx' | 'edx';
export type Feature = {
  name: string;
  leaf: number;
  register: Register;
  bit: number;
  built: boolean;
  /** What the bit promises, for refusals and lists. */
  meaning: string;
};

const EXTENDED = 0x8000_0001;
const on = (leaf: number, register: Register, bit: number, name: string, meaning: string): Feature => ({
  name, leaf, register, bit, built: true, meaning,
}); // biome-ignore format: short
const off: typeof on = (...row) => ({ ...on(...row), built: false });

// biome-ignore format: a table
export const FEATURES: readonly Feature[] = [
  on(1, 'edx', 0, 'FPU', 'the x87, in 80 bits'),
  off(1, 'edx', 1, 'VME', 'virtual-8086 extensions'),
  on(1, 'edx', 2, 'DE', 'CR4.DE: DR4 and DR5 are refused, breakpoints on ports'),
  on(1, 'edx', 3, 'PSE', '4 MiB pages'),
  on(1, 'edx', 4, 'TSC', 'RDTSC'),
  on(1, 'edx', 5, 'MSR', 'RDMSR and WRMSR'),
  on(1, 'edx', 6, 'PAE', 'page tables with 8-byte entries'),
  off(1, 'edx', 7, 'MCE', 'machine checks'),
  on(1, 'edx', 8, 'CX8', 'CMPXCHG8B'),
  off(1, 'edx', 9, 'APIC', 'the local APIC'),
  on(1, 'edx', 11, 'SEP', 'SYSENTER (outside long mode, as on AMD)'),
  off(1, 'edx', 12, 'MTRR', 'memory type ranges'),
  on(1, 'edx', 13, 'PGE', 'CR4.PGE: global pages'),
  off(1, 'edx', 14, 'MCA', 'machine check banks'),
  on(1, 'edx', 15, 'CMOV', 'CMOVcc'),
  on(1, 'edx', 16, 'PAT', 'the page attribute table MSR (memory types change nothing here)'),
  on(1, 'edx', 17, 'PSE36', '4 MiB pages above 4 GiB'),
  on(1, 'edx', 19, 'CLFSH', 'CLFLUSH'),
  on(1, 'edx', 23, 'MMX', 'MMX'),
  on(1, 'edx', 24, 'FXSR', 'FXSAVE and FXRSTOR'),
  on(1, 'edx', 25, 'SSE', 'SSE'),
  on(1, 'edx', 26, 'SSE2', 'SSE2'),
  off(1, 'edx', 28, 'HTT', 'several logical processors'),
  off(1, 'ecx', 0, 'SSE3', 'SSE3'),
  off(1, 'ecx', 1, 'PCLMULQDQ', 'carry-less multiplication'),
  off(1, 'ecx', 3, 'MONITOR', 'MONITOR and MWAIT'),
  off(1, 'ecx', 5, 'VMX', 'Intel virtualization'),
  off(1, 'ecx', 9, 'SSSE3', 'SSSE3'),
  off(1, 'ecx', 12, 'FMA', 'fused multiply-add'),
  on(1, 'ecx', 13, 'CX16', 'CMPXCHG16B'),
  off(1, 'ecx', 17, 'PCID', 'process-context identifiers'),
  off(1, 'ecx', 19, 'SSE41', 'SSE4.1'),
  off(1, 'ecx', 20, 'SSE42', 'SSE4.2'),
  off(1, 'ecx', 21, 'X2APIC', 'x2APIC'),
  on(1, 'ecx', 22, 'MOVBE', 'MOVBE'),
  on(1, 'ecx', 23, 'POPCNT', 'POPCNT'),
  off(1, 'ecx', 25, 'AES', 'AES instructions'),
  off(1, 'ecx', 26, 'XSAVE', 'XSAVE and XGETBV'),
  off(1, 'ecx', 28, 'AVX', 'AVX'),
  off(1, 'ecx', 29, 'F16C', 'half-precision conversion'),
  off(1, 'ecx', 30, 'RDRAND', 'RDRAND: two runs would differ'),
  off(1, 'ecx', 31, 'HYPERVISOR', 'a hypervisor is present'),
  on(7, 'ebx', 0, 'FSGSBASE', 'RDFSBASE and its kin'),
  on(7, 'ebx', 3, 'BMI1', 'TZCNT only: ANDN, BEXTR and BLSI end a run by name'),
  off(7, 'ebx', 5, 'AVX2', 'AVX2'),
  on(7, 'ebx', 7, 'SMEP', 'no supervisor fetches from user pages'),
  off(7, 'ebx', 8, 'BMI2', 'BMI2'),
  off(7, 'ebx', 9, 'ERMS', 'fast REP MOVSB'),
  off(7, 'ebx', 10, 'INVPCID', 'INVPCID'),
  off(7, 'ebx', 18, 'RDSEED', 'RDSEED: two runs would differ'),
  off(7, 'ebx', 19, 'ADX', 'ADCX and ADOX'),
  off(7, 'ebx', 20, 'SMAP', 'no supervisor accesses to user pages'),
  off(7, 'ebx', 29, 'SHA', 'SHA instructions'),
  off(7, 'ecx', 2, 'UMIP', 'no SGDT and its kin for users'),
  off(7, 'ecx', 16, 'LA57', '5-level paging'),
  off(7, 'ecx', 22, 'RDPID', 'RDPID'),
  on(EXTENDED, 'ecx', 0, 'LAHF64', 'LAHF and SAHF in 64-bit code'),
  off(EXTENDED, 'ecx', 2, 'SVM', 'AMD virtualization'),
  off(EXTENDED, 'ecx', 4, 'CR8LEGACY', 'CR8 by LOCK MOV CR0'),
  on(EXTENDED, 'ecx', 5, 'ABM', 'LZCNT'),
  off(EXTENDED, 'ecx', 6, 'SSE4A', 'SSE4a'),
  on(EXTENDED, 'ecx', 8, '3DNOWPREFETCH', 'PREFETCHW'),
  on(EXTENDED, 'edx', 11, 'SYSCALL', 'SYSCALL and SYSRET'),
  on(EXTENDED, 'edx', 20, 'NX', 'no-execute pages'),
  off(EXTENDED, 'edx', 22, 'MMXEXT', 'AMD extensions of MMX'),
  off(EXTENDED, 'edx', 25, 'FFXSR', 'fast FXSAVE'),
  on(EXTENDED, 'edx', 26, 'PDPE1GB', '1 GiB pages'),
  on(EXTENDED, 'edx', 27, 'RDTSCP', 'RDTSCP'),
  on(EXTENDED, 'edx', 29, 'LM', 'long mode'),
  off(EXTENDED, 'edx', 31, '3DNOW', '3DNow!'),
];

/** Bits of leaf 1 EDX that AMD repeats in leaf 0x80000001 EDX. */
const REPEATED = 0x0183_f3ff;
const MANUFACTURER = { ebx: 0x6874_7541, edx: 0x6974_6e65, ecx: 0x444d_4163 }; // "AuthenticAMD"

export type CpuModel = {
  name: string;
  /** Leaf 1 EAX: family, model, stepping. */
  signature: number;
  features: ReadonlySet<string>;
  physicalBits: number;
  /** What a hypervisor shows from leaf 0x40000000 on. */
  hypervisorLeaf?: (leaf: number, subleaf: number) => CpuidResult;
};

const K8 = 0x0006_0fb1;
const set = (names: string): ReadonlySet<string> => new Set(names.split(' '));

export const DEFAULT_MODEL: CpuModel = {
  name: 'default',
  signature: K8,
  features: set('FPU TSC PSE MSR PAE CX8 SEP PGE CMOV MMX FXSR SSE SSE2 LM NX SYSCALL'),
  physicalBits: 40,
};
export const MAX_MODEL: CpuModel = {
  name: 'max',
  signature: K8,
  features: new Set(FEATURES.filter((feature) => feature.built).map((feature) => feature.name)),
  physicalBits: 40,
};

export type CpuidResult = Record<Register, number>;
const NOTHING: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/** What CPUID returns, as unsigned numbers. Leaves that are not there are zeros. */
export function cpuid(model: CpuModel, leaf: number, subleaf: number): CpuidResult {
  const bits = (register: Register) => featureBits(model, leaf, register);
  switch (leaf) {
    case 0:
      return { eax: hasLeaf7(model) ? 7 : 1, ...MANUFACTURER };
    case 1: {
      const clflushBytes = model.features.has('CLFSH') ? 64 / 8 : 0;
      return { eax: model.signature, ebx: clflushBytes << 8, ecx: bits('ecx'), edx: bits('edx') };
    }
    case 7:
      return subleaf === 0 ? { eax: 0, ebx: bits('ebx'), ecx: bits('ecx'), edx: bits('edx') } : NOTHING;
    case 0x8000_0000:
      return { eax: 0x8000_0008, ...MANUFACTURER };
    case EXTENDED: {
      const repeated = featureBits(model, 1, 'edx') & REPEATED;
      return { eax: model.signature, ebx: 0, ecx: bits('ecx'), edx: (bits('edx') | repeated) >>> 0 };
    }
    case 0x8000_0008:
      return { ...NOTHING, eax: model.physicalBits | (48 << 8) };
    default:
      return leaf >>> 8 === 0x40_0000 ? (model.hypervisorLeaf?.(leaf, subleaf) ?? NOTHING) : NOTHING;
  }
}

function hasLeaf7(model: CpuModel): boolean {
  return FEATURES.some((feature) => feature.leaf === 7 && model.features.has(feature.name));
}

function featureBits(model: CpuModel, leaf: number, register: Register): number {
  let bits = 0;
  for (const feature of FEATURES) {
    if (feature.leaf !== leaf || feature.register !== register) continue;
    if (model.features.has(feature.name)) bits |= 1 << feature.bit;
  }
  return bits >>> 0;
}

/** A model as users write it: `max`, `default`, and changes, as in `max,-SMEP` or `+POPCNT,+CX16`. Refuses what is not
 * built. */
export function parseCpuModel(text: string, base: CpuModel = DEFAULT_MODEL): CpuModel {
  let features = new Set(base.features);
  let name = base.name;
  const words = text.split(',').map((word) => word.trim());
  for (const [index, word] of words.entries()) {
    const model = [DEFAULT_MODEL, MAX_MODEL].find((known) => known.name === word.toLowerCase());
    if (model && index === 0) {
      features = new Set(model.features);
      name = model.name;
      continue;
    }
    const feature = FEATURES.find((known) => known.name === word.slice(1).toUpperCase());
    if (!feature || !/^[+-]/.test(word)) throw unknownWord(word, text);
    if (word.startsWith('-')) features.delete(feature.name);
    else if (feature.built) features.add(feature.name);
    else throw notBuilt(feature, text);
  }
  return { ...base, name: text === name ? name : `${name} changed by ${text}`, features };
}

const known = (built: boolean) =>
  FEATURES.filter((feature) => feature.built === built)
    .map((feature) => feature.name)
    .join(' ');

function unknownWord(word: string, text: string): VmError {
  return new VmError({
    what: `--cpu does not know ${JSON.stringify(word)}`,
    where: `--cpu ${text}`,
    why: 'a model name first (default, max), then features with + or - before them, is expected',
    fix: `use one of: ${known(true)}`,
  });
}

function notBuilt(feature: Feature, text: string): VmError {
  return new VmError({
    what: `the CPU feature ${feature.name} is not built`,
    where: `--cpu ${text}`,
    why: `${feature.meaning}: zeropage cannot do that yet, and a CPU that shows it would lie`,
    fix: `leave +${feature.name} out; what is built: ${known(true)}`,
  });
}
