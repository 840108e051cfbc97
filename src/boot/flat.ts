/** flat32 and flat64: raw code, loaded and entered at --load (default 1 MiB).
 *
 * Every general register is 0 but RSP, 0x80000; the code is handed nothing. flat64 starts in long mode with the low
 * 4 GiB identity-mapped. CPUID shows all that is built, and `cli; hlt` is the regular end.
 * Follows: README, "Flat code".   May not: look into the code.   Next: boot/index.ts. */
import { BootError } from '../base/errors.ts';
import { hex } from '../base/numbers.ts';
import { gpa } from '../memory/address.ts';
import { FLAT_LOAD, FLAT_STACK_TOP } from '../memory/map.ts';
import { CR0, CR4, EFER } from '../x86/constants.ts';
import { longModeState, longModeWrites, protectedModeState, protectedModeWrites } from './first-state.ts';
import { inOrder } from './placement.ts';
import type { BootPlan, BootProtocol, PlanRequest, PlanWrite } from './plan.ts';

const FLAT_CR0 = CR0.PE + CR0.ET + CR0.NE + CR0.MP;
const rsp = BigInt(FLAT_STACK_TOP);

export const flat32: BootProtocol = {
  name: 'flat32',
  follows: 'README, "Flat code"',
  summary: 'raw code in 32-bit protected mode',
  accepts,
  plan: (request) =>
    flatPlan('flat32', request, protectedModeWrites(), (rip) => protectedModeState({ rip, rsp, cr0: FLAT_CR0 })),
};

export const flat64: BootProtocol = {
  name: 'flat64',
  follows: 'README, "Flat code"',
  summary: 'raw code in long mode',
  accepts,
  plan: (request) =>
    flatPlan('flat64', request, longModeWrites(), (rip) =>
      longModeState({
        rip,
        rsp,
        cr0: FLAT_CR0 + CR0.PG, // a sum: bit 31 would turn `|` negative
        cr4: CR4.PAE | CR4.OSFXSR | CR4.OSXMMEXCPT,
        efer: EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE,
      }),
    ),
};

/** Any bytes are code, but a file that we know to be something else is not meant as such. */
function accepts(image: Parameters<BootProtocol['accepts']>[0]): ReturnType<BootProtocol['accepts']> {
  if (image.format === 'flat' || image.format === 'multiboot-aout') return true;
  const kind = image.format === 'bzimage' ? 'bzImage' : 'ELF file';
  return {
    why: `it is a ${kind === 'bzImage' ? '' : `${image.format === 'elf64' ? '64' : '32'}-bit `}${kind}, whose first bytes are a header and no code`,
    fix: `take the code out first (objcopy -O binary), or use the entry path that it was made for`,
  };
}

function flatPlan(
  via: 'flat32' | 'flat64',
  { image, load = FLAT_LOAD, memorySize, memoryMap, cmdline, initrd }: PlanRequest,
  tables: PlanWrite[],
  state: (rip: bigint) => BootPlan['state'],
): BootPlan {
  const refuse = (what: string, why: string, fix: string) =>
    new BootError({ what, where: `${image.name} via ${via}`, why, fix });
  if (cmdline !== '')
    throw refuse(
      'flat code takes no command line',
      'it is handed no structure that could point to one',
      'leave --cmdline out',
    );
  if (initrd)
    throw refuse(
      'flat code takes no initrd',
      'it is handed no structure that could point to one',
      'leave --initrd out',
    );
  const { bytes } = image;
  if (bytes.length === 0) throw refuse(`${image.name} is empty`, 'there is no code to run', 'give a file with code');
  const code: PlanWrite = {
    what: 'code', at: gpa(load), bytes, length: bytes.length,
    purpose: `flat code, entered at ${hex(load)}`, from: `${image.name}, offset 0x0`,
  }; // biome-ignore format: two lines of short facts
  return {
    via,
    follows: flat32.follows,
    image,
    memorySize,
    memoryMap,
    cmdline,
    writes: inOrder([code, ...tables]),
    claims: [],
    state: state(BigInt(load)),
    personality: 'bare',
    bootParamsFilledBy: 'nobody',
    haltIsSuccess: true,
    cpuDefault: 'max',
    notes: [],
  };
}
