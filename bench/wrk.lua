-- wrk's part of `python -m bench`: sends the request of a file (it holds an API key), prints one line of JSON. Only 200 is
-- the answer to an awaited call; 202 says that it was accepted, and that its caller should ask later.
local text
local threads = {}
answered, accepted = 0, 0

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  text = file:read("*a")
  file:close()
end

function request()
  return text
end

function response(status)
  if status == 200 then answered = answered + 1 end
  if status == 202 then accepted = accepted + 1 end
end

function done(summary, latency)
  local answers, others, errors = 0, 0, summary.errors
  for _, thread in ipairs(threads) do
    answers = answers + thread:get("answered")
    others = others + thread:get("accepted")
  end
  io.write(string.format(
    '\n{"answered": %d, "accepted": %d, "rate_per_s": %f, "p50_ms": %f, "p99_ms": %f, "faults": %d}\n',
    answers, others, answers / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
