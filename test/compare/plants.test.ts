/** The acceptance table: every bug that can be planted in the tiny guest is found by its name, and nothing else is. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runPaths } from '../../src/cli/compare-run.ts';
import { compareRecords } from '../../src/compare/compare.ts';
import { evaluateRules } from '../../src/compare/rules/evaluate.ts';
import { LINUX_RULES, LINUX_RULES_FILE } from '../../src/compare/rules/linux.ts';
import { parseRules } from '../../src/compare/rules/parse.ts';

const rules = parseRules(LINUX_RULES, LINUX_RULES_FILE);

/** Two paths tell a plant apart; where nothing is planted, all take part. */
const ON_PVH = ['gs-base-pvh', 'boot-version', 'pvh-physical', 'pvh-kasan', 'brk'];
const pathsFor = (plant: string) => ['linux64', ON_PVH.includes(plant) ? 'pvh' : 'xen-pv'];

async function findings(kernel: string, cmdline: string, via?: string[]) {
  const { records, known } = await runPaths(kernel, { cmdline, via, maxInstructions: 20_000_000 });
  const producer = (record: (typeof records)[number]) =>
    evaluateRules(rules, record, { functions: known(record.via), others: records });
  return compareRecords(records, { known, rules: producer }).findings;
}

/** What is planted, the finding that names it, and words of its title. */
const PLANTS = [
  ['cr4-shadow', 'invariant/cr4-shadow/xen-pv', /the copy in cpu_tlbstate is 0x0, CR4 is 0x/],
  ['cr4-shadow', 'function/cr4_init_shadow/xen-pv', /xen-pv does not run cr4_init_shadow before start_kernel/],
  ['kasan', 'function/kasan_early_init/xen-pv', /xen-pv does not run kasan_early_init/],
  ['kasan', 'arrival/panic/xen-pv', /xen-pv ends badly/],
  ['kasan', 'order/kasan_early_init/xen-pv', /without kasan_early_init/],
  ['pvh-kasan', 'arrival/triple-fault/pvh', /#PF page fault in check_memory_region/],
  ['pvh-kasan', 'order/kasan_early_init/pvh', /without kasan_early_init/],
  ['gs-base-pv', 'invariant/gs-base/xen-pv', /GS base is 0/],
  ['gs-base-pvh', 'invariant/gs-base/pvh', /GS base is 0/],
  ['early-traps', 'invariant/early-traps/xen-pv', /0 vectors have a handler/],
  ['early-traps', 'function/idt_setup_early_handler/xen-pv', /xen-pv does not run/],
  ['native-iret', 'order/xen_early_iret_patch/xen-pv', /without xen_early_iret_patch/],
  ['nx-order', 'order/x86_configure_nx/xen-pv', /xen_setup_gdt comes before x86_configure_nx/],
  ['phys-bits', 'order/get_cpu_address_sizes/xen-pv', /without get_cpu_address_sizes/],
  ['bss', 'function/clear_bss/xen-pv', /xen-pv does not run clear_bss/],
  ['brk', 'arrival/panic/linux64', /\.brk area was not clear/],
  ['brk', 'invariant/.brk-clear/linux64', /\.brk was cleared: [\d,]+ bytes of what was in memory before are left/],
  ['early-reserve', 'order/early_reserve_memory/linux64+xen-pv', /e820__memory_setup comes before/],
  ['struct-pages', 'order/sparse_init/xen-pv', /xen_after_bootmem comes without sparse_init/],
  ['boot-version', 'invariant/boot-protocol-version/pvh', /0x212/],
  ['domain-type', 'invariant/xen-domain-type/xen-pv', /xen_domain_type is 0/],
  ['pvh-physical', 'invariant/virtual-addresses/pvh', /RIP is 0x1/],
  ['mtrr', 'rule/mtrr/xen-pv', /get_mtrr_state/],
  ['microcode', 'rule/microcode/xen-pv', /load_ucode_bsp/],
  ['bios-area', 'rule/bios-areas/xen-pv', /default_find_smp_config|reserve_bios_regions/],
] as const; // biome-ignore format: a table

describe('compare on the tiny guest', () => {
  it.each(['', 'console=ttyS0 some=word'])('finds nothing without plants (%j)', async (cmdline) => {
    expect(await findings('tiny', cmdline)).toEqual([]);
  });

  it('finds nothing in the 32-bit build without plants', async () => {
    expect(await findings('tiny32', '', ['lguest', 'linux32', 'pvh'])).toEqual([]);
  });

  const plants = [...new Set(PLANTS.map(([plant]) => plant))];
  it.each(plants)('names what plant=%s does, and puts it on the paths that it is on', async (plant) => {
    const found = await findings('tiny', `plant=${plant}`, pathsFor(plant));
    for (const [, id, title] of PLANTS.filter(([name]) => name === plant)) {
      const finding = found.find((each) => each.id === id);
      expect(found.map((each) => each.id)).toContain(id);
      expect(finding?.title).toMatch(title);
      expect(finding?.evidence.length).toBeGreaterThan(0);
    }
  });

  it('names plant=pvh-pae, which only the 32-bit build has', async () => {
    const found = await findings('tiny32', 'plant=pvh-pae', ['lguest', 'linux32', 'pvh']);
    expect(found.map(({ id }) => id)).toEqual(['arrival/triple-fault/pvh']);
    expect(found[0].evidence.map(({ text }) => text).join('\n')).toMatch(/no other path does.*writes CR4/);
  });

  it('knows every plant that the guest documents', () => {
    const readme = readFileSync(new URL('../../guests/README.md', import.meta.url), 'utf8');
    const table = readme.slice(readme.indexOf('| plant |'));
    const documented = [...table.slice(0, table.indexOf('\n\n')).matchAll(/^\| `([a-z0-9-]+)`/gm)].map(
      ([, name]) => name,
    );
    expect(documented.length).toBeGreaterThan(10);
    expect([...plants, 'pvh-pae'].sort()).toEqual([...documented].sort());
  });
});
