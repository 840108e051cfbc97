/** What this process has taken of its computer, for the report's `host` section and for benchmarks.
 *
 * Linux keeps a process's greatest resident size in two places. The one behind getrusage outlives exec, so a small
 * program that a large one has started seems large itself; the one in /proc belongs to the program alone.
 * Next: cli/boot-trace.ts. */
import { readFileSync } from 'node:fs';

/** The most memory that was resident at any time, in bytes: guest RAM that was touched, and everything else. */
export function peakMemory(): number {
  return peakMemoryOf('self') ?? process.resourceUsage().maxRSS * 1024;
}

/** The same of another process, so far; undefined when it is gone, and where the system does not tell. */
export function peakMemoryOf(pid: number | 'self'): number | undefined {
  try {
    const kilobytes = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
  } catch {
    return undefined;
  }
}
