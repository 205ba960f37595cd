// The http front. POST /trigger adds a job, waits for its end and answers with the same four members as the relay; with
// "steps" it does so for one job after the other. POST /add answers with 202 when the job is added, POST /bulk when all jobs
// of a list are. Jobs of requests that arrive together are added as one bulk.
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

// What arrives while a bulk is on its way goes with the next one.
let gathered = [];
let adding = false;

function addJob(job) {
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

const jobOf = (jobId, webhook, data) => ({ name: "call", data: pack(jobId, webhook, data), opts: { jobId } });

async function trigger({ webhook, data, steps = 1 }) {
  const referenceId = randomUUID();
  const ended = new Promise((resolve) => waiting.set(referenceId, resolve));
  await addJob(jobOf(referenceId, webhook, data));
  const result = await ended;
  if (steps > 1) return trigger({ webhook, data, steps: steps - 1 });
  return { referenceId, ...unpack(referenceId, result) };
}

async function add({ webhook, data }) {
  const referenceId = randomUUID();
  await addJob(jobOf(referenceId, webhook, data));
  return { referenceId, state: "queued" };
}

async function bulk(items) {
  const jobs = items.map(({ webhook, data }) => jobOf(randomUUID(), webhook, data));
  await queue.addBulk(jobs);
  const results = jobs.map(({ opts }) => ({ referenceId: opts.jobId, state: "queued" }));
  return { accepted: jobs.length, rejected: 0, results };
}

const doors = { "/trigger": [200, trigger], "/add": [202, add], "/bulk": [202, bulk] };

const server = http.createServer((request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", async () => {
    try {
      const [status, door] = doors[request.url];
      answer(response, status, await door(JSON.parse(Buffer.concat(pieces).toString())));
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
