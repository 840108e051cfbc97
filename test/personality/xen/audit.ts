/** An audit of a domain's memory, from its bytes: every use of every frame is counted again by walking all tables that are
 * in use, and compared with what the personality believes. Shares no code with it but the numbers of types. */
import { FRAME, OWNER } from '../../../src/personality/xen/frame-types.ts';
import type { TestDomain } from './memory-domain.ts';

type Subject = Pick<TestDomain, 'domain' | 'frames' | 'view' | 'roots'>;

/** Sentences about what is wrong; none is the answer to hope for. */
export function audit({ domain, frames, view, roots }: Subject): string[] {
  const wrong: string[] = [];
  const { types } = domain;
  const { end, hypervisor } = frames;
  const uses = Array.from({ length: end }, () => [0, 0, 0, 0, 0, 0, 0]);
  const refs = new Array<number>(end).fill(0);
  const use = (mfn: number, type: number): void => {
    uses[mfn][type]++;
    refs[mfn]++;
  };
  const isLive = (mfn: number) => types.count[mfn] > 0 && types.type[mfn] >= FRAME.L1 && types.type[mfn] <= FRAME.L4;
  const entry = (mfn: number, index: number) => view.getBigUint64(mfn * 4096 + index * 8, true);

  use(roots.kernelRoot, FRAME.L4);
  if (roots.userRoot !== 0) use(roots.userRoot, FRAME.L4);
  for (const mfn of domain.descriptors.gdtFrames) if (mfn >= 0) use(mfn, FRAME.SEGDESC);
  for (let page = 0; page < 16; page++) {
    const low = entry(hypervisor.gdtTables.first + 2, 32 + page);
    if (low & 1n) use(Number(low >> 12n) & 0xfffff, FRAME.SEGDESC);
  }
  for (const area of [hypervisor.sharedInfo, hypervisor.grants]) {
    for (let i = 0; i < area.count; i++) use(area.first + i, FRAME.WRITABLE);
  }
  for (let mfn = 0; mfn < end; mfn++) {
    if (types.allocated[mfn]) refs[mfn]++;
    if (types.pinned[mfn]) use(mfn, types.type[mfn]);
    if (!isLive(mfn)) continue;
    const level = types.type[mfn];
    for (let i = 0; i < 512; i++) {
      const bits = entry(mfn, i);
      if (level === FRAME.L4 && i >= 256 && i < 272) {
        const own = entry(roots.kernelRoot, i);
        if (bits !== own) wrong.push(`root ${mfn} has ${bits.toString(16)} in Xen's slot ${i}`);
        continue;
      }
      if ((bits & 1n) === 0n) continue;
      const target = Number((bits >> 12n) & 0xff_ffff_ffffn);
      const where = `entry ${i} of level ${level} table ${mfn}`;
      if (target >= end) wrong.push(`${where} leads out of the machine`);
      else if (types.owner[target] !== OWNER.GUEST) wrong.push(`${where} leads to a frame that is not the guest's`);
      else if (level > FRAME.L1) use(target, level - 1);
      else if (bits & 2n) use(target, FRAME.WRITABLE);
      else refs[target]++;
      if ((bits & 4n) === 0n) wrong.push(`${where} is not for CPL 3`);
      if (bits & (level > FRAME.L1 ? 0x198n : 0x98n)) wrong.push(`${where} has a flag that is refused`);
      if (level === FRAME.L1 && bits & 2n && target < end && isLive(target))
        wrong.push(`${where} maps a table writable`);
    }
  }
  for (let mfn = 0; mfn < end; mfn++) {
    const counts = uses[mfn];
    const kinds = counts.flatMap((count, type) => (count > 0 ? [type] : []));
    if (kinds.length > 1) wrong.push(`frame ${mfn} is used as types ${kinds}`);
    const count = kinds.length === 1 ? counts[kinds[0]] : 0;
    if (types.count[mfn] !== count) wrong.push(`frame ${mfn} has count ${types.count[mfn]}, not ${count}`);
    if (count > 0 && types.type[mfn] !== kinds[0])
      wrong.push(`frame ${mfn} has type ${types.type[mfn]}, not ${kinds[0]}`);
    if (types.refs[mfn] !== refs[mfn]) wrong.push(`frame ${mfn} has refs ${types.refs[mfn]}, not ${refs[mfn]}`);
    if (mfn < frames.nrPages && (types.owner[mfn] === OWNER.GUEST) !== refs[mfn] > 0)
      wrong.push(`frame ${mfn} has the wrong owner`);
  }
  // Frames of descriptors have none that gives more than CPL 3.
  for (let mfn = 0; mfn < end; mfn++) {
    if (types.count[mfn] === 0 || types.type[mfn] !== FRAME.SEGDESC) continue;
    for (let i = 0; i < 512; i++) {
      const bits = entry(mfn, i);
      const [present, segment, dpl, type] = [
        (bits >> 47n) & 1n,
        (bits >> 44n) & 1n,
        (bits >> 45n) & 3n,
        (bits >> 40n) & 15n,
      ];
      if (present && segment && dpl !== 3n) wrong.push(`descriptor ${i} of frame ${mfn} has DPL ${dpl}`);
      if (present && !segment && type !== 0n && (type !== 12n || dpl !== 0n))
        wrong.push(`descriptor ${i} of frame ${mfn} is a gate`);
    }
  }
  return wrong;
}

/** The bytes that no call of a guest's may change: Xen's frames, without those that calls are for. */
export function xensOwn({ frames, view }: Subject): Buffer {
  const { gdt, emptyGdt, tss, m2pTables, m2p, gdtTables } = frames.hypervisor;
  const part = (first: number, count: number) => Buffer.from(view.buffer.slice(first * 4096, (first + count) * 4096));
  const gdtPage = part(gdt.first, 1);
  gdtPage.fill(0, 0x50, 0x60); // the LDT's descriptor
  const tables = part(gdtTables.first, 3);
  tables.fill(0, 2 * 4096, 2 * 4096 + 14 * 8); // the guest's pages of the GDT
  tables.fill(0, 2 * 4096 + 32 * 8, 2 * 4096 + 48 * 8); // and of the LDT
  const m2pOfXens = part(m2p.first, m2p.count).subarray(frames.nrPages * 8);
  m2pOfXens.fill(0xff, 0, 8); // shared_info is the guest's to name
  m2pOfXens.fill(
    0xff,
    (frames.hypervisor.grants.first - frames.nrPages) * 8,
    (frames.hypervisor.grants.first + 32 - frames.nrPages) * 8,
  );
  return Buffer.concat([
    gdtPage,
    part(emptyGdt.first, 1),
    part(tss.first, 1),
    part(m2pTables.first, m2pTables.count),
    tables,
    m2pOfXens,
  ]);
}
