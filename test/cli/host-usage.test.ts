import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { peakMemory, peakMemoryOf } from '../../src/cli/host-usage.ts';

describe('the greatest resident size', () => {
  it('is at least what is resident now, and never falls', () => {
    const before = peakMemory();
    const now = process.memoryUsage.rss();
    const after = peakMemory();
    expect(after).toBeGreaterThanOrEqual(before);
    expect(after).toBeGreaterThan(now * 0.9); // the system counts pages in batches
    expect(Number.isInteger(after)).toBe(true);
  });

  it.skipIf(!existsSync('/proc/self/status'))('is known of other processes while they live (Linux only)', () => {
    expect(peakMemoryOf(process.ppid)).toBeGreaterThan(0);
    expect(peakMemoryOf(2 ** 30)).toBeUndefined();
  });
});
