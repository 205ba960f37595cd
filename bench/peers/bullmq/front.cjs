// The http front. POST /trigger adds a job, waits for its end and answers with the same four members as the relay;
// POST /add answers with 202 when the job is added. Jobs of requests that arrive together are added as one bulk.
const http = require("node:http");
const { randomUUID } = require("node:crypto");
const { Queue, QueueEvents } = require("bullmq");
const { pack, unpack } = require(`./${process.env.BENCH_WORK}.cjs`);

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

async function addOne(job) {
  return queue.add(job.name, job.data, job.opts);
}

// What arrives while a bulk is on its way goes with the next one.
let gathered = [];
let adding = false;

function addWithOthers(job) {
  return new Promise((resolve, reject) => {
    gathered.push({ job, resolve, reject });
    if (!adding) setImmediate(addGathered);
    adding = true;
  });
}

async function addGathered() {
  while (gathered.length) {
    const group = gathered;
    gathered = [];
    try {
      const jobs = await queue.addBulk(group.map(({ job }) => job));
      group.forEach(({ resolve }, at) => resolve(jobs[at]));
    } catch (error) {
      group.forEach(({ reject }) => reject(error));
    }
  }
  adding = false;
}

const addJob = process.env.BENCH_ADD === "bulk" ? addWithOthers : addOne;
const add = (jobId, data) => addJob({ name: "call", data: pack(jobId, data), opts: { jobId } });

async function byMap(jobId, data) {
  const ended = new Promise((resolve) => waiting.set(jobId, resolve));
  await add(jobId, data);
  return ended;
}

async function byJob(jobId, data) {
  const job = await add(jobId, data);
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
      if (request.url === "/add") {
        await add(referenceId, data);
        answer(response, 202, { referenceId, state: "queued" });
      } else {
        const result = await wait(referenceId, data);
        answer(response, 200, { referenceId, ...unpack(referenceId, result) });
      }
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
