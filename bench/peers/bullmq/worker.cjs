// Takes jobs and posts each to the endpoint. A job's return value is kept with the job, as BullMQ does by default.
const { Worker } = require("bullmq");
const { Redis } = require("ioredis");
const { Pool } = require("undici");
const { caller } = require(`./${process.env.BENCH_WORK}.cjs`);

const concurrency = Number(process.env.BENCH_CONCURRENCY);
const endpoint = new URL(process.env.BENCH_ENDPOINT_URL);
const pool = new Pool(endpoint.origin, { connections: concurrency, pipelining: 1 });
const server = { host: "127.0.0.1", port: Number(process.env.BENCH_REDIS_PORT) };
// One connection for all Workers, which sends the commands of an iteration of the event loop in one write.
const connection = new Redis({ ...server, enableAutoPipelining: true, maxRetriesPerRequest: null });
const call = caller(pool, endpoint, connection);

// A Worker fetches one job after another while it has free places; with several Workers, fetches overlap.
for (let left = Number(process.env.BENCH_WORKERS); left > 0; left--) {
  const worker = new Worker("calls", call, {
    connection,
    concurrency: concurrency / Number(process.env.BENCH_WORKERS),
    maxStalledCount: 0, // a lost job fails instead of running again: a request is sent at most once
  });
  worker.on("error", (error) => console.error(error));
  worker.on("failed", (job, error) => console.error(error));
}
process.on("SIGTERM", () => process.exit(0));
