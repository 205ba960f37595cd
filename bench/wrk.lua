-- wrk's part of `python -m bench`: `wrk ... -s wrk.lua URL -- FILE SECONDS` sends the request of a file (it holds an
-- API key) and prints one line of JSON. Only 200 is the answer to an awaited call; 202 says that it was accepted, and
-- that its caller should ask later. The rate is of what is answered after SECONDS of warm-up, which wrk does not have.
local ffi = require("ffi")
ffi.cdef("typedef struct { long s, ns; } moment; int clock_gettime(int clock, moment *into);")
local MONOTONIC = 1

local text, warm_s
local threads = {}
local moment = ffi.new("moment")
answered, counted, accepted, warmup_s = 0, 0, 0, 0 -- of a thread, where `done` can read them

local function now_s()
  ffi.C.clock_gettime(MONOTONIC, moment)
  return tonumber(moment.s) + tonumber(moment.ns) / 1e9
end

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  text = file:read("*a")
  file:close()
  warmup_s = tonumber(arguments[2])
  warm_s = now_s() + warmup_s
end

function request()
  return text
end

function response(status)
  if status == 200 then
    answered = answered + 1
    if now_s() >= warm_s then counted = counted + 1 end
  elseif status == 202 then
    accepted = accepted + 1
  end
end

function done(summary, latency)
  local answers, later, others, errors = 0, 0, 0, summary.errors
  for _, thread in ipairs(threads) do
    answers = answers + thread:get("answered")
    later = later + thread:get("counted")
    others = others + thread:get("accepted")
    warmup_s = thread:get("warmup_s")
  end
  io.write(string.format(
    '\n{"answered": %d, "accepted": %d, "rate_per_s": %f, "p50_ms": %f, "p99_ms": %f, "faults": %d}\n',
    answers, others, later / (summary.duration / 1e6 - warmup_s), latency:percentile(50) / 1000,
    latency:percentile(99) / 1000, errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
