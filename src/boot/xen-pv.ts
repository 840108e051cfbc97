/** xen-pv: a guest that no zero page is made for.
 *
 * Xen's domain builder loads the ELF kernel that is inside a bzImage, lays everything out in one line from VIRT_BASE on
 * and enters the kernel in long mode with paging on, at a virtual address, in ring 3: the kernel's door is not the one
 * that firmware and boot loaders know, and boot_params is the kernel's own affair. RSI leads to start_info. Page tables
 * and p2m name machine frames, everything else guest frames; a plan's writes count guest frames, and placing them goes
 * through `frames`. Each segment is zeroed to whole pages. An initrd is handed over as it is, compressed or not, as the
 * builder does it from 4.20 on.
 * The first registers are the hardware's, since the CPU really is in ring 3; what the guest reads of CR0 or CR4 is for
 * the personality to say. IDTR is zero: exceptions go to the personality before any gate is read.
 * Follows: Xen tools/libs/guest/xg_dom_core.c, xg_dom_boot.c, xg_dom_x86.c; xen/arch/x86/domain.c arch_set_info_guest.
 * May not: fill frames of the hypervisor, or the hypercall page.   Next: boot/multiboot.ts. */
import { assert, BootError } from '../base/errors.ts';
import { alignUp, formatSize, hex, MiB } from '../base/numbers.ts';
import { type ElfImage, isElf, type KernelImage } from '../image/kernel-image.ts';
import { E820_RAM } from '../layout/boot-params.ts';
import { EM_X86_64 } from '../layout/elf.ts';
import { GDT_LIMIT, GDT_VIRT_START, TSS_VIRT, XEN_AREA, XEN_SELECTOR } from '../layout/xen/addresses.ts';
import { RING_DISCONNECTED, XenconsInterface } from '../layout/xen/rings.ts';
import {
  MAX_GUEST_CMDLINE,
  SIF_MOD_START_PFN,
  SIF_VIRT_P2M_4TOOLS,
  StartInfo,
  XEN_MAGIC_64,
} from '../layout/xen/start-info.ts';
import { FRAME_SIZE } from '../memory/address.ts';
import { MAX_RAM } from '../memory/guest-memory.ts';
import {
  gpaOfPfn,
  type MachineFrames,
  machineAddress,
  machineFrames,
  type Pfn,
  pfn,
} from '../memory/machine-frames.ts';
import { CR0, CR4, DR6_FIXED, DR7_FIXED, EFER, RFLAGS, SEGMENT, SYSTEM_TYPE } from '../x86/constants.ts';
import { flatCode64, flatData, GPR_NAMES, type GprName, nullSegment, type VcpuState } from '../x86/vcpu-state.ts';
import { refuseLoad } from './linux-common.ts';
import { checkInitrd, inOrder, segmentWrites } from './placement.ts';
import { type BootProtocol, type PlanRequest, type PlanWrite, type Refusal, span, type XenDomain } from './plan.ts';
import { type DomainLayout, type DomainSegment, layOutDomain } from './xen/domain-layout.ts';
import { p2mBytes, pageTables } from './xen/page-tables.ts';
import { type XenParameters, xenParameters } from './xen/parameters.ts';

/** Event channels as the toolstack allocates them: the store's first. */
const STORE_PORT = 1;
const CONSOLE_PORT = 2;

export const xenPv: BootProtocol = {
  name: 'xen-pv',
  follows: 'Xen tools/libs/guest (the domain builder), 64-bit PV',
  summary: 'Xen PV, as the domain builder starts it',

  accepts(image, unpacked) {
    const kernel = elfOf(image, unpacked);
    if ('why' in kernel) return kernel;
    if (kernel.format !== 'elf64' || kernel.machine !== EM_X86_64) {
      return {
        why: 'its kernel is a 32-bit ELF file, so it would be a guest of type xen-3.0-x86_32p',
        fix: 'use a 64-bit kernel; the path for 32-bit ones (xen-pv32) is not built',
      };
    }
    const parameters = xenParameters(kernel);
    return 'why' in parameters ? parameters : true;
  },

  plan(request) {
    const { image, memorySize, cmdline } = request;
    const kernel = elfOf(image, request.unpackedKernel);
    assert(!('why' in kernel), 'xen-pv accepted this image');
    refuseLoad(request.load, image.name);
    const parameters = xenParameters(kernel);
    assert(!('why' in parameters), 'xen-pv accepted this kernel');
    if (request.initrd) checkInitrd(request.initrd);
    const frames = machineFrames(memorySize / FRAME_SIZE, request.mfn);
    const layout = fittingLayout(request, parameters, frames);
    const domain = describeDomain(layout, parameters, frames);
    const hypercallPage = hypercallFrame(image, parameters, layout);
    const { order } = frames;
    const seed = typeof order === 'object' ? `, seed ${order.scrambled}` : '';
    return {
      via: 'xen-pv',
      follows: xenPv.follows,
      image,
      unpackedKernel: kernel === image ? undefined : kernel,
      memorySize,
      memoryMap: [{ addr: 0, size: memorySize, type: E820_RAM }],
      cmdline,
      writes: inOrder(domainWrites(request, kernel, parameters, layout, frames)),
      claims: [],
      state: firstState(parameters, layout, frames),
      personality: 'xen-pv',
      handover: {
        struct: 'start_info',
        at: gpaOfPfn(domain.startInfoPfn),
        register: 'rsi',
        virtual: layout.segment('start_info').va,
      },
      bootParamsFilledBy: 'guest',
      entrySymbolHint: 'startup_xen',
      haltIsSuccess: false,
      cpuDefault: 'model',
      frames,
      xen: { ...domain, hypercallPage },
      notes: [
        order === 'identity'
          ? 'guest frames are machine frames (--mfn identity): a guest that mixes the two up will not be caught'
          : `guest frames are spread over the machine (--mfn scrambled${seed}); the writes above count guest frames`,
      ],
    };
  },
};

function elfOf(image: KernelImage, unpacked: ElfImage | undefined): ElfImage | Refusal {
  if (isElf(image)) return image;
  if (image.format !== 'bzimage') {
    return { why: 'it is no ELF file, so it has no notes', fix: 'use a vmlinux or bzImage with CONFIG_XEN_PV=y' };
  }
  if (unpacked) return unpacked;
  if (image.payload) {
    return {
      why: 'its payload was not unpacked, and only that has notes',
      fix: 'pass the unpacked payload along (spec.unpackedKernel)',
    };
  }
  return {
    why: 'its boot protocol is older than 2.08 and does not say where its payload is',
    fix: 'use the vmlinux that it was made from',
  };
}

/** Lays the domain out and refuses one that is too small, or whose mappings meet. */
function fittingLayout(
  { image, memorySize, initrd }: PlanRequest,
  parameters: XenParameters,
  { hypervisor, nrPages, end }: MachineFrames,
): DomainLayout {
  const { virtBase, p2mBase } = parameters;
  const where = `${image.name} via xen-pv`;
  const lay = (nrPages: number) => layOutDomain(parameters, { nrPages, initrdLength: initrd?.length });
  if (end * FRAME_SIZE > MAX_RAM) {
    const own = (end - nrPages) * FRAME_SIZE;
    throw new BootError({
      what: `a domain of ${formatSize(memorySize)} leaves no room for its hypervisor`,
      where,
      why: `Xen’s own frames need ${hex(own)} bytes above it (${Object.keys(hypervisor).length} kinds), and all ends at ${formatSize(MAX_RAM)}`,
      fix: `use at most --memory ${MAX_RAM / MiB - alignUp(own, MiB) / MiB}M`,
    });
  }
  const layout = lay(nrPages);
  const tooFar = layout.segments.find(({ pfn: first, pages }) => first + pages > nrPages);
  if (tooFar) {
    // The p2m grows with the domain.
    let enough = layout.pages;
    for (let before = 0; enough > before && enough * FRAME_SIZE <= MAX_RAM; ) {
      before = enough;
      enough = lay(alignUp(enough * FRAME_SIZE, MiB) / FRAME_SIZE).pages;
    }
    const needed = alignUp(enough * FRAME_SIZE, MiB) / MiB;
    throw new BootError({
      what: `${tooFar.name === 'initrd' ? 'the initrd does not fit' : `${image.name} does not fit`} into a domain of ${formatSize(memorySize)}`,
      where: `${where}, ${tooFar.name}`,
      why: `${tooFar.name} needs guest frames ${span(tooFar.pfn, tooFar.pages)}; the domain has [0x0, ${hex(nrPages)})`,
      fix:
        needed < MAX_RAM / MiB
          ? `give it --memory ${needed}M or more`
          : 'link the kernel nearer to VIRT_BASE, or make the initrd smaller',
    });
  }
  if (p2mBase !== undefined) {
    const p2mEnd = p2mBase + BigInt(alignUp(nrPages * 8, FRAME_SIZE));
    const reach = p2mEnd > virtBase ? 'the kernel is mapped from VIRT_BASE' : p2mBase < 1n << 47n && p2mEnd > 1n << 47n ? 'no address is canonical from 0x800000000000' : undefined; // biome-ignore format: one line
    if (reach) {
      throw new BootError({
        what: `the p2m of ${image.name} runs into something else`,
        where: `${where}, XEN_ELFNOTE_INIT_P2M (15)`,
        why: `with ${formatSize(memorySize)} it would take [${hex(p2mBase)}, ${hex(p2mEnd)}), and ${reach} ${hex(virtBase)} on`,
        fix: 'choose an INIT_P2M with more room behind it, as 0x8000000000',
      });
    }
  }
  const last = layout.virtEnd - 1n;
  const isBroken = last >= 1n << 64n || (virtBase < 1n << 47n && last >= 1n << 47n);
  if (isBroken) {
    throw new BootError({
      what: `${image.name} cannot be mapped in one line`,
      where: `${where}, XEN_ELFNOTE_VIRT_BASE (3)`,
      why: `the first mapping would be [${hex(virtBase)}, ${hex(layout.virtEnd)}), which has addresses that do not exist`,
      fix: 'choose a lower VIRT_BASE, or make the initrd smaller',
    });
  }
  assert(virtBase >= XEN_AREA.end || last < XEN_AREA.start, 'the mapping leaves Xen its own addresses');
  return layout;
}

function describeDomain(layout: DomainLayout, parameters: XenParameters, frames: MachineFrames): XenDomain {
  const { pfn: tables, pages } = layout.segment('page tables');
  const p2m = layout.segment('p2m');
  return {
    segments: layout.segments,
    virtBase: parameters.virtBase,
    virtEnd: layout.virtEnd,
    rootPfn: tables,
    pageTables: { pfn: tables, pages },
    p2m: { pfn: p2m.pfn, pages: p2m.pages, va: virtual(p2m) },
    p2mTables: layout.p2mMap && { pfn: layout.p2mMap.pfn, pages: layout.p2mMap.tables },
    startInfoPfn: layout.segment('start_info').pfn,
    storePfn: layout.segment('xenstore').pfn,
    consolePfn: layout.segment('console').pfn,
    bootStackPfn: layout.segment('boot stack').pfn,
    ports: { store: STORE_PORT, console: CONSOLE_PORT },
    sharedInfoMfn: frames.hypervisor.sharedInfo.first,
    features: { required: parameters.required, supported: parameters.supported },
    // xen_version 6 says so when the kernel can take a root above 4 GiB; it matters to 32-bit guests.
    extendedCr3: parameters.pae !== 'no',
  };
}

/** Segments where a kernel may want its hypercall page. */
const UNCLAIMED: ReadonlySet<string> = new Set(['pad', 'kernel', 'padding']);

function hypercallFrame(
  image: KernelImage,
  { hypercallPage, virtBase }: XenParameters,
  layout: DomainLayout,
): Pfn | undefined {
  if (hypercallPage === undefined) return undefined;
  const refuse = (why: string) =>
    new BootError({
      what: `${image.name} wants its hypercall page where there is none`,
      where: `${image.name}, XEN_ELFNOTE_HYPERCALL_PAGE (2)`,
      why: `${hex(hypercallPage)} ${why}`,
      fix: 'reserve a page in the kernel for it, page aligned, or leave the note out and execute SYSCALL',
    });
  if (hypercallPage < virtBase || hypercallPage >= layout.virtEnd || hypercallPage % 0x1000n !== 0n)
    throw refuse(`is no page of the first mapping, [${hex(virtBase)}, ${hex(layout.virtEnd)})`);
  const frame = Number(hypercallPage - virtBase) / FRAME_SIZE;
  const taken = layout.segments.find(
    ({ name, pfn: first, pages }) => !UNCLAIMED.has(name) && frame >= first && frame < first + pages,
  );
  if (taken) throw refuse(`lies in what the builder makes there: ${taken.name}`);
  return pfn(frame);
}

function domainWrites(
  request: PlanRequest,
  kernel: ElfImage,
  parameters: XenParameters,
  layout: DomainLayout,
  frames: MachineFrames,
): PlanWrite[] {
  const writes = kernelWrites(request, kernel, parameters);
  const add = (segment: DomainSegment, bytes: Uint8Array, purpose = segment.purpose, from = 'made here') =>
    writes.push({
      what: segment.name, at: gpaOfPfn(segment.pfn), bytes, length: segment.pages * FRAME_SIZE, purpose, from,
    }); // biome-ignore format: short
  const nothing = new Uint8Array();

  if (request.initrd) add(layout.segment('initrd'), request.initrd, undefined, '--initrd');
  const tables = pageTables(layout, frames);
  const p2m = layout.segment('p2m');
  const ownTables = layout.p2mMap?.tables ?? 0;
  add({ ...p2m, pages: p2m.pages - ownTables }, p2mBytes(frames), 'machine frame of each guest frame');
  if (tables.second && layout.p2mMap) {
    const { pfn: first, tables: pages } = layout.p2mMap;
    add({ name: 'p2m page tables', pfn: first, pages, purpose: 'map the p2m at INIT_P2M; not mapped themselves' }, tables.second); // biome-ignore format: one line
  }
  add(layout.segment('start_info'), startInfo(request, layout, frames));
  add(layout.segment('xenstore'), nothing);
  const ring = new Uint8Array(XenconsInterface.size);
  XenconsInterface.write(ring, 0, { connection: RING_DISCONNECTED });
  add(layout.segment('console'), ring);
  add(layout.segment('page tables'), tables.first, `${layout.map.tables} tables, the root first; they map themselves read-only`); // biome-ignore format: one line
  add(layout.segment('boot stack'), nothing);
  return writes;
}

/** Each PT_LOAD where the cursors have it: p_paddr, less PADDR_OFFSET. */
function kernelWrites({ image }: PlanRequest, kernel: ElfImage, { paddrOffset }: XenParameters): PlanWrite[] {
  const writes = segmentWrites(kernel, paddrOffset);
  writes.forEach((write, i) => {
    const next = writes[i + 1];
    if (next === undefined || write.at + write.length <= next.at) return;
    throw new BootError({
      what: `segments of ${image.name} overlap`,
      where: `${image.name}, ${write.what} and ${next.what}`,
      why: `they would take ${span(write.at, write.length)} and ${span(next.at, next.length)}; one would overwrite the other`,
      fix: 'link it with load addresses that do not overlap; readelf -lW shows them',
    });
  });
  return writes;
}

function startInfo({ cmdline, initrd, image }: PlanRequest, layout: DomainLayout, frames: MachineFrames): Uint8Array {
  const bytes = new Uint8Array(StartInfo.size);
  const module = initrd && layout.segment('initrd');
  const p2m = layout.segment('p2m');
  const mfnOf = (segment: DomainSegment) => frames.mfnOf(segment.pfn);
  StartInfo.write(bytes, 0, {
    magic: XEN_MAGIC_64,
    nr_pages: frames.nrPages,
    shared_info: machineAddress(frames.hypervisor.sharedInfo.first),
    flags: SIF_VIRT_P2M_4TOOLS | (module && module.va === undefined ? SIF_MOD_START_PFN : 0),
    store_mfn: mfnOf(layout.segment('xenstore')),
    store_evtchn: STORE_PORT,
    'console.domU.mfn': mfnOf(layout.segment('console')),
    'console.domU.evtchn': CONSOLE_PORT,
    pt_base: virtual(layout.segment('page tables')),
    nr_pt_frames: layout.map.tables,
    mfn_list: virtual(p2m),
    mod_start: module ? (module.va ?? module.pfn) : 0,
    // Of an initrd that is not mapped, the builder tells whole pages.
    mod_len: module ? (module.va === undefined ? module.pages * FRAME_SIZE : (initrd?.length ?? 0)) : 0,
    first_p2m_pfn: layout.p2mMap ? p2m.pfn : 0,
    nr_p2m_frames: layout.p2mMap ? p2m.pages : 0,
  });
  const line = new TextEncoder().encode(cmdline);
  if (line.length >= MAX_GUEST_CMDLINE) {
    throw new BootError({
      what: 'the command line is too long',
      where: image.name,
      why: `it has ${line.length} bytes; start_info holds ${MAX_GUEST_CMDLINE - 1}, and Xen’s toolstack cuts off the rest`,
      fix: 'shorten --cmdline',
    });
  }
  if (line.includes(0)) {
    throw new BootError({
      what: 'the command line holds a NUL character',
      where: `--cmdline, byte ${line.indexOf(0)}`,
      why: 'a NUL ends the line for the guest, so the rest would be lost',
      fix: 'take it out of --cmdline',
    });
  }
  bytes.set(line, StartInfo.offsetOf('cmd_line'));
  return bytes;
}

/** A mapped segment's address. */
function virtual({ va, name }: DomainSegment): bigint {
  assert(va !== undefined, `${name} is mapped`);
  return va;
}

function firstState(parameters: XenParameters, layout: DomainLayout, frames: MachineFrames): VcpuState {
  const registers = Object.fromEntries(GPR_NAMES.map((name) => [name, 0n])) as Record<GprName, bigint>;
  const none = nullSegment();
  const stack = virtual(layout.segment('boot stack')) + BigInt(FRAME_SIZE);
  const root = frames.mfnOf(layout.segment('page tables').pfn);
  return {
    ...registers,
    rsi: virtual(layout.segment('start_info')),
    rsp: BigInt.asUintN(64, stack),
    rip: parameters.entry,
    rflags: BigInt(RFLAGS.IF | RFLAGS.ONE),
    segments: {
      es: none, cs: flatCode64(XEN_SELECTOR.CS, 3), ss: flatData(XEN_SELECTOR.SS, 3), ds: none, fs: none, gs: none,
    },
    ldtr: none,
    tr: { selector: XEN_SELECTOR.TSS, base: TSS_VIRT, limit: 0x67, attributes: SEGMENT.P | SYSTEM_TYPE.TSS_BUSY },
    gdtr: { base: GDT_VIRT_START, limit: GDT_LIMIT },
    idtr: { base: 0n, limit: 0 },
    cr0: BigInt(CR0.PE + CR0.MP + CR0.ET + CR0.NE + CR0.WP + CR0.AM + CR0.PG), // a sum: bit 31 would turn `|` negative
    cr2: 0n,
    cr3: BigInt(machineAddress(root)),
    cr4: BigInt(CR4.PAE | CR4.MCE | CR4.OSFXSR | CR4.OSXMMEXCPT),
    cr8: 0n,
    efer: BigInt(EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE),
    dr: [0n, 0n, 0n, 0n, BigInt(DR6_FIXED), BigInt(DR7_FIXED)],
    msrs: {},
    cpl: 3,
  }; // biome-ignore format: a table
}
