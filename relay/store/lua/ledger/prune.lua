-- prune: deletes final records and ended replay jobs whose retention has passed, and their entries in indexes. Stops
-- counting the bytes of contents whose own, shorter retention has passed.
--
-- KEYS  1 the root of the partition
-- ARGV  1 limit of records, contents and jobs
-- Returns how many there were

local contents = require('contents')
local damage = require('damage')
local effects = require('effects')
local fields = require('fields')
local jobs = require('jobs')
local KEY = require('keys')
local outcomes = require('outcomes')
local record = require('record')

local read_old = fields.record('state', 'plugin', 'webhook', 'outcome', 'status', 'error', 'keptBytes', 'subject')

local function leaves(run, key, ref)
  run.gone[key] = run.gone[key] or {}
  table.insert(run.gone[key], ref)
end

local function forget_job(run, member)
  local id = string.sub(member, #jobs.PREFIX + 1)
  local f = redis.pcall('HMGET', KEY.replay(run, id), 'plugin', 'finishedAt')
  if f[1] and not f[2] then return end
  if f[1] then leaves(run, KEY.replays(run, f[1]), id) end
  redis.call('DEL', KEY.replay(run, id), KEY.replay_ids(run, id), KEY.replay_decided(run, id),
    KEY.replay_seen(run, id), KEY.replay_parked(run, id))
end

local function forget_record(run, ref)
  local r = read_old(run, ref)
  if r and not record.FINAL[r.state] then return end -- its end was begun but not completed
  if r then
    leaves(run, KEY.plugin_index(run, r.plugin), ref)
    leaves(run, KEY.webhook_index(run, r.plugin, r.webhook), ref)
    if r.subject ~= '' then leaves(run, KEY.subject_index(run, r.plugin, r.subject), ref) end
    if r.keptBytes ~= '' then effects.sum_kept(run, r.plugin, -tonumber(r.keptBytes)) end
    leaves(run, KEY.ends(run, r.plugin, outcomes.kind_of(r.state, r.outcome, r.status, r.error)), ref)
  end
  redis.call('DEL', KEY.record(run, ref), KEY.payload(run, ref), KEY.result(run, ref), KEY.steps(run, ref),
    KEY.raw(run, ref), KEY.secrets(run, ref))
end

local function count_contents_gone(run, ref)
  local r = read_old(run, ref)
  if r and record.FINAL[r.state] then contents.count_gone(run, ref, r) end
end

local function forget(run, member)
  if string.sub(member, 1, #jobs.PREFIX) == jobs.PREFIX then return forget_job(run, member) end
  if string.sub(member, 1, #contents.PREFIX) == contents.PREFIX then
    return count_contents_gone(run, string.sub(member, #contents.PREFIX + 1))
  end
  forget_record(run, member)
end

local function main(run)
  run.gone = {} -- key of an index -> ids

  local old = redis.call('ZRANGEBYSCORE', KEY.expiry(run), '-inf', run.now_text, 'LIMIT', 0, tonumber(run.args[1]))
  for _, member in ipairs(old) do
    forget(run, member)
    leaves(run, KEY.expiry(run), member)
  end
  effects.flush(run)
  -- an index may be of another type
  for key, refs in pairs(run.gone) do damage.try(effects.in_pieces, 'ZREM', key, refs, 1) end
  return #old
end

return { kind = 'counts', is_fenced = true, run = main }
