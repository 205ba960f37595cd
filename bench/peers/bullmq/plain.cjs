// A call with none of the relay's duties: the job's data goes out as it is, and the answer is kept as it came.
const pack = (id, webhook, data) => ({ webhook, data });
const unpack = (id, result) => result;

function caller(pool) {
  return async (job) => {
    const answer = await pool.request({
      path: `/hooks/${job.data.webhook}`,
      method: "POST",
      headers: { "content-type": "application/json", "webhook-id": job.id },
      body: JSON.stringify(job.data.data),
    });
    const data = await answer.body.json();
    return { status: answer.statusCode, data, error: answer.statusCode >= 400 };
  };
}

module.exports = { pack, unpack, caller };
