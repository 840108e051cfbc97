import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { imagePath } from '../../src/cli/guests.ts';
import { COMMAND, scratch, shell, zeropage } from './run.ts';

const json = (file: string) => JSON.parse(readFileSync(file, 'utf8'));

/** 32-bit code that prints a prompt and sends back what comes in, until a q. */
function echoGuest(): string {
  const file = join(scratch(), 'echo.bin');
  const prompt = [...'name? '].flatMap((character) => [0xb0, character.charCodeAt(0), 0xee]);
  const echo = [0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7, 0x66, 0xba, 0xf8, 0x03, 0xec, 0xee, 0x3c, 0x71, 0x75, 0xed, 0xf4]; // biome-ignore format: code
  writeFileSync(file, Uint8Array.from([0x66, 0xba, 0xf8, 0x03, ...prompt, ...echo]));
  return file;
}

describe('boot', { concurrent: true, timeout: 60_000 }, () => {
  it('prints the console of the built-in guest and nothing else, and a closing word on standard error', async () => {
    const { code, stdout, stderr } = await zeropage(['boot']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^zeropage tiny kernel[\s\S]*\nverdict: success\r?\n$/);
    expect(stderr).toMatch(
      /^zeropage: power-off, exit 0: .*\nzeropage: tiny64.bzimage via linux64, [\d,]+ instructions in .*\n$/,
    );
  });

  it('says nothing beside the console with --quiet', async () => {
    const { code, stdout, stderr } = await zeropage([
      'boot',
      'tiny',
      '--via',
      'pvh',
      '--quiet',
      '--log-level',
      'debug',
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('via pvh_start');
  });

  it.each([
    ['panic', 4, /^guest panic after .*asked for on the command line/],
    [
      'badptr',
      4,
      /first fault: #PF page fault.*\n.*touch_bad_pointer\+0x\d[\s\S]*touching 0xdead0000[\s\S]*mov esi,\[rax\]/,
    ],
    ['triple', 4, /first fault: #UD[\s\S]*ud2/],
    ['exit=3', 1, /verdict: failure 3/],
    ['spin', 5, /ended at 0x\w+ spin_forever/],
  ])('of a guest with %s ends with %i and says why', async (cmdline, code, why) => {
    const finished = await zeropage(['boot', 'tiny', '--cmdline', cmdline, '--max-instructions', '3M']);
    expect(finished.code).toBe(code);
    expect(finished.stderr).toMatch(why);
  });

  it("writes the same report for the same run, all but what is the host's", async () => {
    const folder = scratch();
    const reports = await Promise.all(
      [1, 2].map(async (n) => {
        const report = join(folder, `${n}.json`);
        const dump = join(folder, `${n}.bin`);
        const args = ['boot', '--via', 'linux32', '--memory', '64M', '--append', 'quiet', '--quiet'];
        await zeropage([...args, '--report', report, '--dump', `0x1000000:64K:${dump}`, '--dump', `0:4K:${dump}.low`]);
        return { report: json(report), dump: readFileSync(dump) };
      }),
    );
    const [one, other] = reports;
    expect(Object.keys(one.report.host.milliseconds)).toEqual(['read', 'plan', 'place', 'run']);
    expect(one.report.host.peakMemory).toBeGreaterThan(3e7);
    delete one.report.host;
    delete other.report.host;
    expect(one.report).toEqual(other.report);
    expect(one.dump.equals(other.dump)).toBe(true);
    expect(one.dump.length).toBe(65536);
    expect(one.report).toMatchObject({ schema: 1, via: 'linux32', exit: { reason: 'power-off', code: 0 } });
    expect(one.report.console).toContain('verdict: success');
    expect(readdirSync(folder).sort()).toEqual(['1.bin', '1.bin.low', '1.json', '2.bin', '2.bin.low', '2.json']);
  });

  it.each([['SIGINT', 130], ['SIGTERM', 143]] as const)('ends in order on %s: exit %i, report whole', async (signal, code) => {
    const report = join(scratch(), 'report.json');
    let sent = false;
    const finished = await zeropage(['boot', 'tiny', '--cmdline', 'spin', '--report', report], {
      during: (child, stdout) => {
        if (sent || !stdout().includes('initrd')) return;
        sent = true;
        child.kill(signal);
      },
    });
    expect(finished.code).toBe(code);
    expect(json(report).exit).toMatchObject({ reason: 'interrupted', code });
    expect(finished.stderr).toContain(`stopped by ${signal}`);
  }); // biome-ignore format: short

  it('ends by its own clock with --timeout', async () => {
    const { code, stderr } = await zeropage(['boot', 'tiny', '--cmdline', 'spin', '--timeout', '0.5', '--quiet']);
    expect(code).toBe(5);
    expect(stderr).toBe('');
  });

  it('takes a closed pipe as a quiet end', async () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
    const { stdout, stderr } = await shell('$ZEROPAGE boot tiny --cmdline spin | head -n 1; echo "${PIPESTATUS[0]}"');
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^zeropage tiny kernel.*\n141\n$/);
  });

  it('stops where it was asked to', async () => {
    const report = join(scratch(), 'report.json');
    const { code, stdout, stderr } = await zeropage(['boot', 'tiny', '--until', 'start_kernel', '--report', report]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
    expect(stderr).toContain('reached start_kernel');
    expect(json(report).registers.rip).toMatch(/^0xffffffff81/);
  });

  it('knows when what was asked for never came', async () => {
    const { code, stderr } = await zeropage(['boot', 'tiny', '--expect', 'verdict: glorious']);
    expect(code).toBe(1);
    expect(stderr).toContain('without showing "verdict: glorious"');
    const symbol = await zeropage(['boot', 'tiny', '--until', 'no_such_function']);
    expect(symbol.code).toBe(3);
    expect(symbol.stderr).toMatch(/^BootError: there is no symbol "no_such_function"/);
  });

  it('sends input when the console asks for it, and gives a recording back', async () => {
    const echo = echoGuest();
    const recording = join(scratch(), 'keys.json');
    const args = ['boot', echo, '--via', 'flat32', '--memory', '2M', '--quiet'];
    const sent = await zeropage([
      ...args,
      '--after',
      '/name\\? $/',
      '--send',
      'jo\\x65\\n',
      '--after',
      'joe',
      '--send',
      'q',
      '--record-input',
      recording,
    ]);
    expect(sent).toMatchObject({ code: 0, stdout: 'name? joe\nq' });
    expect(json(recording).input.map(({ text }: { text: string }) => text)).toEqual(['joe\n', 'q']);
    const again = await zeropage([...args, '--replay-input', recording]);
    expect(again).toEqual(sent);
  });

  it('is a terminal with --interactive, and puts the real one back', async () => {
    const which = spawnSync('script', ['--version'], { encoding: 'utf8' });
    if (which.status !== 0) {
      console.log('skipped: there is no script(1) to make a terminal with');
      return;
    }
    const session = join(scratch(), 'session.sh');
    writeFileSync(
      session,
      `stty -g\n${COMMAND} boot ${echoGuest()} --via flat32 --memory 2M --interactive\necho "exit $?"\nstty -g\n`,
    );
    // Typed when the prompt is there: a, b, Ctrl-C (which is the guest's), Ctrl-] (which is ours).
    const { stdout } = await shell(`
      mkfifo "${session}.keys"
      script -qec "sh ${session}" /dev/null < "${session}.keys" > "${session}.out" &
      exec 3> "${session}.keys"
      shown() { for i in $(seq 200); do grep -q "$1" "${session}.out" && break; sleep 0.1; done; }
      shown 'name?'; printf 'ab\\003' >&3
      shown 'name? ab'; printf '\\035' >&3
      wait $!
      cat "${session}.out"`);
    const [before, after] = stdout.match(/^[0-9a-f]+(:[0-9a-f]+){10,}/gm) ?? [];
    expect(stdout).toContain('name? ab\x03');
    expect(stdout).toContain('ended from the keyboard');
    expect(stdout).toMatch(/exit 130/);
    expect(after).toBe(before);
  });

  it('takes input from a pipe with --interactive', async () => {
    const { code, stdout } = await zeropage(
      ['boot', echoGuest(), '--via', 'flat32', '--memory', '2M', '--interactive'],
      { input: 'hello q' },
    );
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'name? hello q' });
  });

  it('goes through every path of a guest side by side, with paths', async () => {
    const { code, stdout } = await zeropage(['paths']);
    expect(code).toBe(0);
    const table = Buffer.from(stdout, 'latin1').toString();
    for (const row of [
      /linux32 .* 32-bit, at 0x1000000 .* esi → boot_params 0x10000 .* loader .* power-off \(0\)/,
      /linux64 .* 64-bit, at 0x1000200 .* rsi → boot_params 0x10000 .* loader .* power-off \(0\)/,
      /pvh .* 32-bit, at 0x\w+ .* ebx → hvm_start_info 0x7000 .* guest .* power-off \(0\)/,
      /multiboot .* 32-bit, at 0x\w+ .* ebx → multiboot_info 0x8000 .* nobody .* power-off \(0\)/,
    ]) {
      expect(table).toMatch(row);
    }
  });

  it('lists the built-in guests', async () => {
    const { code, stdout } = await zeropage(['guests', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)[0]).toMatchObject({
      name: 'tiny',
      default: true,
      images: { linux64: imagePath('tiny64.bzimage') },
    });
  });
});
