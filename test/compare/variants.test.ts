/** Baselines measured: the tiny guest built again with a change, and held against a stored run of the unchanged one.
 *
 * Harmless changes must alarm nobody, whatever they do to addresses, counts, timing and inlining; a step that is added,
 * dropped or moved on one path must be named. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { baselineFiles, readBaseline } from '../../src/compare/baseline.ts';
import { changesSince, type RunSet } from '../../src/compare/changes.ts';
import { type Edit, Variants, whyNot } from './tiny-variants.ts';

const MAIN = 'tiny/kernel/main.c';
const XEN = 'tiny/kernel/xen.c';
const HEAD = 'tiny/kernel/head64.c';
const SETUP = 'tiny/kernel/setup.c';
const MAKE = 'Makefile';
const FEATURE = 'void early_feature_init(void);\nvoid early_feature_init(void)\n{\n\tasm volatile("");\n}\n';
const NO_INLINING =
  /-fno-inline-functions -fno-inline-small-functions -fno-inline-functions-called-once -fno-partial-inlining \\\n\t-fno-ipa-sra -fno-ipa-cp/;
const optimise = (level: string): Edit => [MAKE, ' -O2 ', ` ${level} `];
/** A step of xen_start_kernel with the plant's question in front of it. */
const step = (plant: string, call: string) => new RegExp(`\\tif \\(!planted\\("${plant}"\\)\\)\\n\\t\\t${call}\\n`);

const HARMLESS: readonly [what: string, edits: readonly Edit[]][] = [
  ['a longer message in code of all paths', [[MAIN, 'zeropage tiny kernel', 'zeropage very tiny kernel of today']]],
  ["a longer message in one path's own code", [[XEN, '"startup_xen"', '"startup_xen, as Xen wants it"']]],
  ['a function and data that all paths use late', [[MAIN, 'void rest_init(void)\n{', 'int unrelated(int x)\n{\n\treturn x * 3 + 1;\n}\n\nstatic int numbers[300] = { 1 };\n\nvoid rest_init(void)\n{\n\tprintk("unrelated %d %d\\n", unrelated(4), numbers[2]);']]],
  ['files linked in another order', [[MAKE, 'KERNEL := printk panic string plant head_common', 'KERNEL := head_common plant string panic printk']]],
  ['-O1', [optimise('-O1')]],
  ['-Os', [optimise('-Os')]],
  ['inlining, copies and split functions allowed', [[MAKE, NO_INLINING, '\\\n\t']]],
  ['the same at -O3', [[MAKE, NO_INLINING, '\\\n\t'], optimise('-O3')]],
  ['tail calls', [[MAKE, '-fno-optimize-sibling-calls', '']]],
  ['a step added on all paths', [[MAIN, 'void start_kernel(void)\n{', `${FEATURE}\nvoid start_kernel(void)\n{\n\tearly_feature_init();`]]],
  ['a step dropped on all paths', [[MAIN, '\tlist_initrd();', '']]],
]; // biome-ignore format: a table

const ALARMING: readonly [what: string, edits: readonly Edit[], id: string, title: RegExp][] = [
  ['dropped on xen-pv', [[XEN, step('bss', 'clear_bss\\(\\);'), '']], 'lost/clear_bss/xen-pv', /xen-pv lost clear_bss before start_kernel; linux64 and pvh still run it/],
  ['dropped on the bare-metal paths', [[HEAD, '\tcr4_init_shadow();', '']], 'lost/cr4_init_shadow/linux64+pvh', /xen-pv still runs it/],
  ['dropped on xen-pv, and the path dies of it', [[XEN, step('phys-bits', 'get_cpu_address_sizes\\(\\);'), '']], 'lost/get_cpu_address_sizes/xen-pv', /xen-pv lost get_cpu_address_sizes/],
  ["dropped, though no other path has it", [[XEN, '\txen_reserve_special_pages();', '']], 'lost/xen_reserve_special_pages/xen-pv', /no other path has it/],
  ['dropped with its source', [[XEN, '\tfill_boot_params(info);', '\t(void)fill_boot_params;']], 'lost/fill_boot_params/xen-pv', /its effect is gone/],
  ['dropped with its source, though no other path has it', [[XEN, '\txen_reserve_special_pages();', ''], ['tiny/paravirt/xen_mmu.c', /void xen_reserve_special_pages\(void\)\n{[^}]*}\n/, '']], 'lost/xen_reserve_special_pages/xen-pv', /no other path has it/],
  ['dropped in common code on one path', [[SETUP, '\tmtrr_bp_init();', '\tif (boot_params.hdr.hardware_subarch != X86_SUBARCH_XEN)\n\t\tmtrr_bp_init();']], 'lost/mtrr_bp_init/xen-pv', /linux64 and pvh still run it/],
  ['dropped in the assembly of pvh', [['tiny/entry/pvh.S', /\tcall\tload_percpu_segment/, '']], 'other-caller/load_percpu_segment/pvh', /startup_64 calls it first now, and pvh_start did/],
  ['added on the bare-metal paths', [[HEAD, '\tidt_setup_early_handler();', '\tidt_setup_early_handler();\n\tearly_feature_init();'], [HEAD, '/* From entry', `${FEATURE}/* From entry`]], 'gained/early_feature_init/linux64+pvh', /xen-pv did not/],
  ['added on xen-pv', [[XEN, '\tget_cpu_cap();', '\tget_cpu_cap();\n\tearly_feature_init();'], [XEN, '/* Each step is', `${FEATURE}/* Each step is`]], 'gained/early_feature_init/xen-pv', /linux64 and pvh did not/],
  ['a step of setup_arch taken early as well', [[XEN, '\tget_cpu_cap();', '\tget_cpu_cap();\n\tearly_cpu_init();']], 'earlier/early_cpu_init/xen-pv', /already before start_kernel/],
  ['moved behind its neighbours on xen-pv', [[XEN, step('early-traps', 'idt_setup_early_handler\\(\\);'), ''], [XEN, '\tfill_boot_params(info);', '\tfill_boot_params(info);\n\tidt_setup_early_handler();']], 'moved/idt_setup_early_handler/xen-pv', /in another place before start_kernel/],
  ['moved behind the meeting place', [[HEAD, '\tidt_setup_early_handler();\n', ''], [MAIN, '\tsetup_arch();', '\tidt_setup_early_handler();\n\tsetup_arch();']], 'later/idt_setup_early_handler/linux64+pvh', /only after start_kernel/],
  ['moved into common code, so that another path has it too', [[HEAD, '\tload_ucode_bsp();\n', ''], [HEAD, '\tx86_early_init_platform_quirks();', '\tload_ucode_bsp();\n\tx86_early_init_platform_quirks();']], 'gained/load_ucode_bsp/xen-pv', /linux64 and pvh ran it already/],
  ['a field that one path no longer fills', [[XEN, '\tboot_params.hdr.hardware_subarch = X86_SUBARCH_XEN;', '']], 'state/boot_params.hdr.hardware_subarch/xen-pv', /was 0x2, and is 0x0/],
]; // biome-ignore format: a table

const missing = whyNot();

describe.skipIf(missing !== undefined)(`a baseline of the tiny guest${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let variants: Variants;
  let stored: RunSet;

  beforeAll(async () => {
    variants = new Variants();
    // Through the form in which it is kept, since that is what a later day has.
    const files = baselineFiles(await variants.run([]), '0.0.0');
    stored = readBaseline((file) => files.get(file), 'memory');
  }, 60_000);
  afterAll(() => variants?.remove());

  it('is silent on the same build', async () => {
    const { findings, notes } = changesSince(stored, await variants.run([]));
    expect({ findings, notes }).toEqual({ findings: [], notes: [] });
  });

  it.each(HARMLESS)('alarms nobody after %s', { timeout: 30_000 }, async (_, edits) => {
    expect(changesSince(stored, await variants.run(edits)).findings).toEqual([]);
  });

  it.each(ALARMING)('names a step %s', { timeout: 30_000 }, async (_, edits, id, title) => {
    const { findings } = changesSince(stored, await variants.run(edits));
    const ids = findings.map((finding) => finding.id.replace('init-mismatch/', ''));
    expect(ids).toContain(id);
    expect(findings[ids.indexOf(id)].title).toMatch(title);
    // The step is told at once: before it only how the run ended, and what it broke.
    expect(
      ids
        .slice(0, ids.indexOf(id))
        .filter((each) => !/^(?:end|invariant)\//.test(each) && !each.endsWith('linux64+pvh')),
    ).toEqual([]);
  });
});
