// Adds BENCH_CALLS jobs in bulk with no worker running and prints their ids, one a line.
const { randomUUID } = require("node:crypto");
const { Queue } = require("bullmq");
const { pack } = require(`./${process.env.BENCH_WORK}.cjs`);

const BATCH = 1000;

async function main() {
  const data = JSON.parse(process.env.BENCH_DATA);
  const queue = new Queue("calls", {
    connection: { host: "127.0.0.1", port: Number(process.env.BENCH_REDIS_PORT) },
  });
  for (let left = Number(process.env.BENCH_CALLS); left > 0; left -= BATCH) {
    const ids = Array.from({ length: Math.min(left, BATCH) }, () => randomUUID());
    await queue.addBulk(ids.map((jobId) => ({ name: "call", data: pack(jobId, "bench", data), opts: { jobId } })));
    process.stdout.write(ids.join("\n") + "\n");
  }
  await queue.close();
}

main();
