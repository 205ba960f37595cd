// A minute's buckets as columns: gaps filled, and gathered where a minute is too fine.

const MINUTE = 60_000;

/** Takes what came new into what there is, keeps what lies in the range, oldest first. */
export function merged(had, come, since) {
  const byStart = new Map(had.map((bucket) => [bucket.start, bucket]));
  for (const bucket of come) byStart.set(bucket.start, bucket);
  const kept = [...byStart.values()].filter((bucket) => Date.parse(bucket.start) >= since - MINUTE);
  return kept.sort((one, other) => Date.parse(one.start) - Date.parse(other.start));
}

/** How many calls ended in a bucket; what was refused or cancelled before it was sent is none. */
export function ended({ final }) {
  return (final.delivered ?? 0) + (final.unreachable ?? 0) + (final.interrupted ?? 0);
}

/** What a range comes to. */
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

/** Calls that ended a minute, over the last `most` whole minutes since there is traffic; null where there is none. */
export function pace(buckets, most = 5) {
  const begun = buckets.findIndex((bucket) => bucket.accepted > 0 || ended(bucket) > 0);
  if (begun < 0) return null;
  const whole = buckets.slice(begun, -1).slice(-most);
  const counted = whole.length ? whole : buckets.slice(-1);
  return counted.reduce((sum, bucket) => sum + ended(bucket), 0) / counted.length;
}

/** The latest bucket that has percentiles. */
export function latest(buckets) {
  return buckets.findLast((bucket) => bucket.p50Ms !== null && bucket.p50Ms !== undefined) ?? null;
}

/**
 * Columns from `since` to `until`, `step` minutes each. Counts are a minute's mean; the percentiles of several minutes
 * are their worst, since percentiles cannot be added.
 */
export function columns(buckets, since, until, step) {
  const width = step * MINUTE;
  const first = Math.floor(since / width) * width;
  const slots = Array.from({ length: Math.floor((until - first) / width) + 1 }, (_, n) => slot((first + n * width) / 1_000));
  for (const bucket of buckets) {
    const into = slots[Math.floor((Date.parse(bucket.start) - first) / width)];
    if (into) add(into, bucket);
  }
  const column = (value) => slots.map(value);
  return {
    xs: column((each) => each.at),
    total: column((each) => each.ended / step),
    good: column((each) => (each.ended - each.errors) / step),
    errors: column((each) => each.errors / step),
    errorShare: column((each) => (each.ended ? each.errors / each.ended : null)),
    p50: column((each) => each.p50Ms),
    p95: column((each) => each.p95Ms),
    p99: column((each) => each.p99Ms),
  };
}

/** The same for what waited in each lane: the most of any minute of a column. */
export function laneColumns(minutes, lanes, since, until, step) {
  const width = step * MINUTE;
  const first = Math.floor(since / width) * width;
  const number = Math.floor((until - first) / width) + 1;
  const made = lanes.map(() => new Array(number).fill(null));
  for (const { start, pending } of minutes) {
    const at = Math.floor((Date.parse(start) - first) / width);
    lanes.forEach((lane, n) => {
      const value = pending[lane] ?? null;
      if (value !== null && at >= 0 && at < number) made[n][at] = Math.max(made[n][at] ?? 0, value);
    });
  }
  return { xs: Array.from({ length: number }, (_, n) => (first + n * width) / 1_000), lanes: made };
}

function slot(at) {
  return { at, ended: 0, errors: 0, p50Ms: null, p95Ms: null, p99Ms: null };
}

function add(into, bucket) {
  into.ended += ended(bucket);
  into.errors += bucket.errors;
  for (const name of ["p50Ms", "p95Ms", "p99Ms"]) {
    const value = bucket[name] ?? null;
    if (value !== null) into[name] = Math.max(into[name] ?? 0, value);
  }
}
