// Takes jobs and posts each to the endpoint. A job's return value is kept with the job, as BullMQ does by default.
const { Worker } = require("bullmq");
const { Pool } = require("undici");

const concurrency = Number(process.env.BENCH_CONCURRENCY);
const endpoint = new URL(process.env.BENCH_ENDPOINT_URL);
const pool = new Pool(endpoint.origin, { connections: concurrency, pipelining: 1 });

async function call(job) {
  const answer = await pool.request({
    path: endpoint.pathname,
    method: "POST",
    headers: { "content-type": "application/json", "webhook-id": job.id },
    body: JSON.stringify(job.data),
  });
  const data = await answer.body.json();
  return { status: answer.statusCode, data, error: answer.statusCode >= 400 };
}

// One Worker fetches one job after another while it has free places; several share that wait.
for (let left = Number(process.env.BENCH_WORKERS); left > 0; left--) {
  const worker = new Worker("calls", call, {
    connection: { host: "127.0.0.1", port: Number(process.env.BENCH_REDIS_PORT) },
    concurrency: concurrency / Number(process.env.BENCH_WORKERS),
  });
  worker.on("error", (error) => console.error(error));
  worker.on("failed", (job, error) => console.error(error));
}
process.on("SIGTERM", () => process.exit(0));
