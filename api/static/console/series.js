// Turns buckets, of a minute each, into a chart's columns, of one or several minutes each; fills gaps.

const MINUTE = 60_000;

/** Merges new buckets into those known, and returns those since `since`, oldest first. */
export function merged(had, come, since) {
  const byStart = new Map(had.map((bucket) => [bucket.start, bucket]));
  for (const bucket of come) byStart.set(bucket.start, bucket);
  const kept = [...byStart.values()].filter((bucket) => Date.parse(bucket.start) >= since - MINUTE);
  return kept.sort((one, other) => Date.parse(one.start) - Date.parse(other.start));
}

/** Returns how many calls ended in a bucket, without those refused, or cancelled before they were sent. */
export function ended({ final }) {
  return (final.delivered ?? 0) + (final.unreachable ?? 0) + (final.interrupted ?? 0);
}

/** Returns the sums of several buckets, and their share of errors. */
export function totals(buckets) {
  const sum = { accepted: 0, ended: 0, errors: 0, rejected: 0 };
  for (const bucket of buckets) {
    sum.accepted += bucket.accepted;
    sum.ended += ended(bucket);
    sum.errors += bucket.errors;
    sum.rejected += bucket.final.rejected ?? 0;
  }
  return { ...sum, errorShare: sum.ended ? sum.errors / sum.ended : null };
}

/** Returns the calls that ended per minute, over the last `most` whole minutes with traffic; null without traffic. */
export function pace(buckets, most = 5) {
  const begun = buckets.findIndex((bucket) => bucket.accepted > 0 || ended(bucket) > 0);
  if (begun < 0) return null;
  const whole = buckets.slice(begun, -1).slice(-most);
  const counted = whole.length ? whole : buckets.slice(-1);
  return counted.reduce((sum, bucket) => sum + ended(bucket), 0) / counted.length;
}

/** Returns the latest bucket that has percentiles; null if none has. */
export function latest(buckets) {
  return buckets.findLast((bucket) => bucket.p50Ms !== null && bucket.p50Ms !== undefined) ?? null;
}

/**
 * Returns columns from `since` to `until`, of `step` minutes each. Counts are means per minute; the percentiles of a
 * column are the highest of its minutes, because percentiles cannot be added.
 */
export function columns(buckets, since, until, step) {
  const { xs, indexOf } = grid(since, until, step);
  const slots = xs.map(() => ({ ended: 0, errors: 0, p50Ms: null, p95Ms: null, p99Ms: null }));
  for (const bucket of buckets) {
    const into = slots[indexOf(bucket)];
    if (into) add(into, bucket);
  }
  const column = (value) => slots.map(value);
  return {
    xs,
    total: column((each) => each.ended / step),
    good: column((each) => (each.ended - each.errors) / step),
    errors: column((each) => each.errors / step),
    errorShare: column((each) => (each.ended ? each.errors / each.ended : null)),
    p50: column((each) => each.p50Ms),
    p95: column((each) => each.p95Ms),
    p99: column((each) => each.p99Ms),
  };
}

/** Returns such columns of the calls that waited in each lane: the most in any minute of a column. */
export function laneColumns(minutes, lanes, since, until, step) {
  const { xs, indexOf } = grid(since, until, step);
  const made = lanes.map(() => xs.map(() => null));
  for (const minute of minutes) {
    const at = indexOf(minute);
    lanes.forEach((lane, n) => {
      const value = minute.pending[lane] ?? null;
      if (value !== null && at >= 0 && at < xs.length) made[n][at] = Math.max(made[n][at] ?? 0, value);
    });
  }
  return { xs, lanes: made };
}

/** Returns the times of columns, in seconds, and a function that returns the index of a bucket's column. */
function grid(since, until, step) {
  const width = step * MINUTE;
  const first = Math.floor(since / width) * width;
  const xs = Array.from({ length: Math.floor((until - first) / width) + 1 }, (_, n) => (first + n * width) / 1_000);
  return { xs, indexOf: ({ start }) => Math.floor((Date.parse(start) - first) / width) };
}

function add(into, bucket) {
  into.ended += ended(bucket);
  into.errors += bucket.errors;
  for (const name of ["p50Ms", "p95Ms", "p99Ms"]) {
    const value = bucket[name] ?? null;
    if (value !== null) into[name] = Math.max(into[name] ?? 0, value);
  }
}
