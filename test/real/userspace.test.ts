/** Debian's own programs, dynamically linked, in a guest: they say what they say on this computer, to the last digit.
 *
 * userspace.sh asks bash, coreutils, awk, bc, perl, python, sqlite, jq and others; the answers of a chroot here and those
 * of the guest are compared byte by byte, and nothing is masked. glibc picks its variants by the CPU, so the ones with
 * FMA, which our CPU does not have, are turned off here (they round once where others round twice). */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { packFolder } from '../../src/cli/initrd-folder.ts';
import { scratch } from '../cli/run.ts';
import { bootReal } from './boots.ts';
import { haveReal, realPath } from './files.ts';

const KERNEL = 'vmlinuz-cloud-amd64';
const SCRIPT = fileURLToPath(new URL('userspace.sh', import.meta.url));
/** What the host may have and the guest does not. */
const SAME_VARIANTS = { GLIBC_TUNABLES: 'glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4' };

/** The script's answers on this computer; undefined where nobody may change the root folder. */
function here(root: string): string | undefined {
  const inside = ['chroot', root, '/bin/bash', '/script.sh'];
  for (const before of [[], ['unshare', '-r']]) {
    const [command, ...args] = [...before, ...inside];
    const run = spawnSync(command, args, {
      encoding: 'utf8',
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', ...SAME_VARIANTS },
    });
    if (run.status === 0) return run.stdout;
  }
  return undefined;
}

const INIT = `#!/bin/bash
/bin/busybox mount -t proc proc /proc
env -i /bin/bash /script.sh > /tmp/answers
echo BEGIN
cat /tmp/answers
echo END
/bin/busybox poweroff -f
`;

const missing = [KERNEL, 'busybox', 'userspace'].filter((name) => !haveReal(name));
const why =
  missing.length > 0
    ? `${missing.join(', ')} not there; .ci/fetch-kernels brings it`
    : process.env.ZEROPAGE_ALL_BOOTS
      ? undefined
      : 'it takes half a minute; ZEROPAGE_ALL_BOOTS=1 runs it';
if (why) console.log(`skipped: a Debian userspace in a guest (${why})`);

describe.skipIf(why !== undefined)('a Debian userspace in a guest', { timeout: 300_000 }, () => {
  it('says what the same programs say here', async ({ skip }) => {
    const root = join(scratch(), 'root');
    if (spawnSync('cp', ['-a', realPath('userspace'), root]).status !== 0) return skip('it could not be copied');
    copyFileSync(SCRIPT, join(root, 'script.sh'));
    const expected = here(root);
    if (expected === undefined) return skip('chroot is not allowed here, with unshare or without');
    for (const folder of ['tmp', 'proc']) {
      rmSync(join(root, folder), { recursive: true, force: true });
      mkdirSync(join(root, folder));
    }
    writeFileSync(join(root, 'init'), INIT);
    copyFileSync(realPath('busybox'), join(root, 'bin/busybox'));
    for (const file of ['init', 'bin/busybox']) chmodSync(join(root, file), 0o755);
    const initrd = packFolder(root, 'test').bytes;
    rmSync(root, { recursive: true });
    const { exit, console, crash } = await bootReal(KERNEL, { via: 'pvh', memory: '640M', cmdline: 'console=ttyS0 quiet', initrd }); // biome-ignore format: one line
    expect(exit, crash).toMatchObject({ kind: 'power-off', code: 0 });
    const answers = /^BEGIN\n([\s\S]*)^END\n/m.exec(console.replaceAll('\r\n', '\n'))?.[1];
    expect(answers).toBe(expected);
    expect(expected).not.toMatch(/not found|No such file|error while loading|status 127/);
    expect(expected.split('\n').length).toBeGreaterThan(200);
  });
});
