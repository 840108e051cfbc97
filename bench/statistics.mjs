// The few figures that all benchmarks share.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Three digits, and no exponent however large it is. */
export function round(value) {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** Calls `work` until it has run for `seconds`, and gives its median time in nanoseconds. A few calls come before, for
 * V8 to compile it. */
export function time(work, seconds = 1) {
  const warm = performance.now() + seconds * 300;
  do work();
  while (performance.now() < warm);
  const times = [];
  const end = performance.now() + seconds * 1000;
  do {
    const from = process.hrtime.bigint();
    work();
    times.push(Number(process.hrtime.bigint() - from));
  } while (performance.now() < end || times.length < 3);
  return median(times);
}
