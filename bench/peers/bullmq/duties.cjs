// A call with the relay's duties, each in the cheapest form that fulfils it: data is validated at the door and again before
// it is sent (ajv, compiled once); payload and result are sealed (AES-256-GCM bound to the call's id); the record says
// that the request may leave before it leaves; the answer is masked; the final record is indexed by webhook, outcome and
// time. BENCH_SENDING says which record it is: "active" is BullMQ's own (a job is in its list `active` before its worker
// has it, and with maxStalledCount 0 a lost one fails instead of running again), "own" is a hash beside the job.
const Ajv = require("ajv/dist/2020");
const { masker } = require("./masking.cjs");
const { open, seal } = require("./sealing.cjs");

const WEBHOOK = "bench-call";
const validate = new Ajv().compile(JSON.parse(process.env.BENCH_SCHEMA));

function check(data) {
  if (!validate(data)) throw new Error("the data does not fit the schema");
}

function pack(id, data) {
  check(data);
  return { webhook: WEBHOOK, payload: seal(`payload ${id}`, JSON.stringify(data)) };
}

function unpack(id, record) {
  const { status, error } = record;
  return { status, data: JSON.parse(open(`result ${id}`, record.result)), error };
}

function caller(pool, endpoint, records) {
  const mask = masker([process.env.BENCH_SECRET, endpoint.href, endpoint.host, endpoint.hostname, endpoint.pathname]);
  const own = process.env.BENCH_SENDING === "own";

  async function call(job) {
    const text = open(`payload ${job.id}`, job.data.payload);
    check(JSON.parse(text));
    const startedAt = Date.now();
    if (own) await records.hset(`call:${job.id}`, "state", "sending", "webhook", WEBHOOK, "startedAt", startedAt);
    const answer = await pool.request({
      path: endpoint.pathname,
      method: "POST",
      headers: {
        authorization: process.env.BENCH_SECRET,
        "content-type": "application/json",
        "webhook-id": job.id,
      },
      body: text,
    });
    const data = mask(await answer.body.text());
    const finishedAt = Date.now();
    const record = {
      status: answer.statusCode,
      error: answer.statusCode >= 400,
      outcome: "answered",
      startedAt,
      durationMs: finishedAt - startedAt,
      result: seal(`result ${job.id}`, JSON.stringify(data)),
    };
    keep(job.id, record, finishedAt);
    return record;
  }

  // Not awaited: it precedes BullMQ's own command on the one connection, and mostly leaves in one write with it. A write
  // that fails ends the process, so that its calls are found as lost ones.
  function keep(id, record, finishedAt) {
    const writes = [
      records.zadd(`webhook:${WEBHOOK}`, finishedAt, id),
      records.zadd(`outcome:${WEBHOOK}:${record.outcome}`, finishedAt, id),
    ];
    if (own) writes.push(records.hset(`call:${id}`, "state", "delivered", "status", record.status));
    for (const write of writes) write.catch(() => process.exit(1));
  }

  return call;
}

module.exports = { pack, unpack, caller };
