import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compare, VmError } from '../../src/index.ts';

describe('compare of the library', () => {
  it('gives findings and records, and judges a change since a stored run', async () => {
    const folder = join(mkdtempSync(join(tmpdir(), 'zeropage-')), 'good');
    const via = ['linux64', 'pvh'];
    const clean = await compare('tiny', { via, save: folder });
    expect(clean).toMatchObject({ findings: [], exitCode: 0, meeting: { meeting: 'start_kernel' } });
    expect(clean.records.map((record) => record.via)).toEqual(via);
    const changed = await compare('tiny', { against: folder, cmdline: 'plant=gs-base-pvh' });
    expect(changed.exitCode).toBe(1);
    expect(changed.findings[0]).toMatchObject({ kind: 'init mismatch', paths: ['pvh'], subject: 'gs base' });
  });

  it('throws what is wrong with a wish', async () => {
    await expect(compare('tiny', { via: ['nowhere'] })).rejects.toThrow(VmError);
    await expect(compare('tiny', { rules: [{ name: 'mine', text: 'feature a\n  functons b\n' }] })).rejects.toThrow(
      /mine/,
    );
  });
});
