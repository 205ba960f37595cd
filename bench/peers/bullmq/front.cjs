// The http front: adds a job, waits for its end, answers with the same four members as the relay.
const http = require("node:http");
const { randomUUID } = require("node:crypto");
const { Queue, QueueEvents } = require("bullmq");

const connection = { host: "127.0.0.1", port: Number(process.env.BENCH_REDIS_PORT), enableAutoPipelining: true };
const queue = new Queue("calls", { connection });
const events = new QueueEvents("calls", { connection: { host: connection.host, port: connection.port } });

// One listener and a map: a job's id is known before it is added, so no event can be missed, and the second
// look into Redis that job.waitUntilFinished makes is not needed.
const waiting = new Map();
events.on("completed", ({ jobId, returnvalue }) => settle(jobId, returnvalue));
events.on("failed", ({ jobId }) => settle(jobId, { status: 0, data: null, error: true }));
events.setMaxListeners(0);
queue.setMaxListeners(0);

function settle(jobId, result) {
  const resolve = waiting.get(jobId);
  waiting.delete(jobId);
  if (resolve) resolve(result);
}

async function byMap(jobId, data) {
  const ended = new Promise((resolve) => waiting.set(jobId, resolve));
  await queue.add("call", data, { jobId });
  return ended;
}

async function byJob(jobId, data) {
  const job = await queue.add("call", data, { jobId });
  return job.waitUntilFinished(events);
}

const wait = process.env.BENCH_WAIT === "job" ? byJob : byMap;

const server = http.createServer((request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", async () => {
    try {
      const { data } = JSON.parse(Buffer.concat(pieces).toString());
      const referenceId = randomUUID();
      const result = await wait(referenceId, data);
      answer(response, 200, { referenceId, ...result });
    } catch (error) {
      console.error(error);
      answer(response, 500, { code: "internal" });
    }
  });
});

function answer(response, status, value) {
  const body = JSON.stringify(value);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  response.end(body);
}

server.keepAliveTimeout = 60_000;
events.waitUntilReady().then(() => server.listen(Number(process.env.BENCH_PORT), "127.0.0.1"));
process.on("SIGTERM", () => process.exit(0));
