-- runs: the state of one run of a script. A function that needs any of it takes the run as its first argument. Modules
-- and scripts add what only a few need.

local constants = require('constants')
local numbers = require('numbers')

local runs = {}

-- Begins a run. Scripts use only the server's clock, never a worker's or a caller's.
function runs.begin(root, args)
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  return {
    root = root, -- of its keys
    args = args,
    time = time, -- the server's: seconds and microseconds, as text
    now = now, -- ms since the epoch: an integer below 2^53, exact in a Lua number
    now_text = numbers.int(now),
    grace = 0, -- ms: how long a message may be under way before a sweep checks (lib/ready.lua)
    lease_margin = 0, -- ms: by how much leases are longer than their calls' timeouts (lib/leases.lua)
    caller_token = '', -- written to calls that it ends (lib/conclude.lua)
    looked_at = 0, -- how many records of originals were read (lib/originals.lua)
    ready = {}, -- ref, lane, ref, lane, ...: calls that may be run now
    webhooks = {}, -- plugin/webhook -> its policy (lib/policy.lua)
    tallies = {}, -- plugin/webhook -> what is collected about it (lib/tallies.lua)
    plugins = {}, -- plugin -> its sums (lib/effects.lua)
  }
end

-- Returns a stored time, or now if it is more than `ahead` ms ahead, which is further than it can have been set: then
-- the clock has gone back since.
function runs.within(run, time, ahead)
  return time > run.now + ahead + constants.UNNOTICED and run.now or time
end

return runs
