// A call with the relay's duties, each in the cheapest form that fulfils it: data is validated at the door and again before
// it is sent (ajv, compiled once); payload and result are sealed (AES-256-GCM bound to the call's id); the record says
// that the request may leave before it leaves; the answer is masked; the final record is indexed by webhook, outcome and
// time. The record that says so is BullMQ's own: a job is in its list `active` before its worker has it, and with
// maxStalledCount 0 a lost one fails instead of running again.
const Ajv = require("ajv/dist/2020");
const { masker } = require("./masking.cjs");
const { open, seal } = require("./sealing.cjs");

const validate = new Ajv().compile(JSON.parse(process.env.BENCH_SCHEMA));

function check(data) {
  if (!validate(data)) throw new Error("the data does not fit the schema");
}

function pack(id, webhook, data) {
  check(data);
  return { webhook, payload: seal(`payload ${id}`, JSON.stringify(data)) };
}

function unpack(id, record) {
  const { status, error } = record;
  return { status, data: JSON.parse(open(`result ${id}`, record.result)), error };
}

function caller(pool, endpoint, records) {
  const maskers = new Map();

  function maskerOf(webhook) {
    if (!maskers.has(webhook)) {
      const { href, host, hostname, pathname } = new URL(`/hooks/${webhook}`, endpoint);
      maskers.set(webhook, masker([process.env.BENCH_SECRET, href, host, hostname, pathname]));
    }
    return maskers.get(webhook);
  }

  async function call(job) {
    const { webhook } = job.data;
    const text = open(`payload ${job.id}`, job.data.payload);
    check(JSON.parse(text));
    const startedAt = Date.now();
    const answer = await pool.request({
      path: `/hooks/${webhook}`,
      method: "POST",
      headers: {
        authorization: process.env.BENCH_SECRET,
        "content-type": "application/json",
        "webhook-id": job.id,
      },
      body: text,
    });
    const data = maskerOf(webhook)(await answer.body.text());
    const finishedAt = Date.now();
    const record = {
      status: answer.statusCode,
      error: answer.statusCode >= 400,
      outcome: "answered",
      startedAt,
      durationMs: finishedAt - startedAt,
      result: seal(`result ${job.id}`, JSON.stringify(data)),
    };
    keep(job.id, webhook, record, finishedAt);
    return record;
  }

  // Not awaited: it precedes BullMQ's own command on the one connection, and mostly leaves in one write with it. A write
  // that fails ends the process, so that its calls are found as lost ones.
  function keep(id, webhook, record, finishedAt) {
    const writes = [
      records.zadd(`webhook:${webhook}`, finishedAt, id),
      records.zadd(`outcome:${webhook}:${record.outcome}`, finishedAt, id),
    ];
    for (const write of writes) write.catch(() => process.exit(1));
  }

  return call;
}

module.exports = { pack, unpack, caller };
