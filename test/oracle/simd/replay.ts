/** replay: runs recorded states of MMX and SSE instructions on the engine, and says what the host did otherwise.
 *
 * Next: test/oracle/simd/simd.test.ts. */
import { hex } from '../../../src/base/numbers.ts';
import type { CpuOptions } from '../../../src/engine/cpu.ts';
import { STATE } from '../../../src/engine/state.ts';
import { GPR_NAMES } from '../../../src/x86/vcpu-state.ts';
import { InterpreterDriver } from '../../engine/interpreter-driver.ts';
import { FILLER, PAGE, segmentOf, USER_CS, USER_DS, WORLD } from '../sandbox.ts';
import type { SimdOutcome } from './native.ts';
import { CODE, DATA, type SimdCase } from './states.ts';

const IMAGE = { FCW: 0, FSW: 2, FTW: 4, MXCSR: 24, ST: 32, XMM: 160, SELECTORS: 464 };
const FLAGS = 0x8d5n;

export class SimdReplay {
  readonly #driver: InterpreterDriver;

  constructor(options: Partial<CpuOptions> = {}) {
    this.#driver = new InterpreterDriver(options);
    this.#driver.enter({
      ...WORLD,
      pages: [
        { at: CODE, bytes: new Uint8Array(PAGE).fill(FILLER), access: 'rx' },
        { at: DATA, bytes: new Uint8Array(PAGE), access: 'rw' },
      ],
    });
  }

  /** What differs in one state; empty when nothing does. */
  check({ code, start }: SimdCase, expected: SimdOutcome): string[] {
    const driver = this.#driver;
    const data = segmentOf(0);
    driver.load({
      mode: 64,
      gpr: start.gpr,
      rip: BigInt(CODE),
      rflags: start.rflags,
      segments: { cs: segmentOf(USER_CS), ss: segmentOf(USER_DS), ds: data, es: data, fs: data, gs: data },
      memory: [
        { at: CODE, bytes: Uint8Array.from([...code, FILLER]) },
        { at: DATA, bytes: start.data },
      ],
    });
    const { view, bytes } = driver.cpu.state;
    const at = STATE.FXSAVE;
    bytes.fill(0, at, at + IMAGE.MXCSR).fill(0, at + IMAGE.SELECTORS, at + 512); // the x87's pointers
    view.setUint16(at + IMAGE.FCW, start.fcw, true);
    view.setUint16(at + IMAGE.FSW, start.fsw, true);
    view.setUint16(at + IMAGE.FTW, start.ftw, true);
    view.setUint32(at + IMAGE.MXCSR, start.mxcsr, true);
    bytes.set(start.st, at + IMAGE.ST);
    bytes.set(start.xmm, at + IMAGE.XMM);
    const fault = driver.step();
    const lines: string[] = [];
    const differ = (what: string, e: string | number | bigint, a: string | number | bigint): void => {
      const text = (x: typeof e): string => (typeof x === 'string' ? x : hex(x));
      if (e !== a) lines.push(`${what}: expected ${text(e)}, got ${text(a)}`);
    };
    differ('exception', expected.vector, fault?.vector ?? 0);
    const gpr = driver.gpr();
    GPR_NAMES.forEach((name, i) => {
      differ(name, expected.gpr[i], gpr[i]);
    });
    differ('flags', expected.rflags & FLAGS, driver.rflags() & FLAGS);
    differ('mxcsr', expected.mxcsr, view.getUint32(at + IMAGE.MXCSR, true));
    differ('fsw', expected.fsw, view.getUint16(at + IMAGE.FSW, true));
    differ('ftw', expected.ftw, view.getUint8(at + IMAGE.FTW));
    const text = (from: Uint8Array): string => Buffer.from(from).reverse().toString('hex');
    for (let i = 0; i < 16; i++) {
      const here = at + IMAGE.XMM + 16 * i;
      differ(`xmm${i}`, text(expected.xmm.subarray(16 * i, 16 * i + 16)), text(bytes.subarray(here, here + 16)));
    }
    for (let i = 0; i < 8; i++) {
      const here = at + IMAGE.ST + 16 * i;
      differ(`st${i}`, text(expected.st.subarray(16 * i, 16 * i + 10)), text(bytes.subarray(here, here + 10)));
    }
    differ('memory', text(expected.data), text(driver.memory(DATA, expected.data.length)));
    return lines;
  }
}
