-- prune: deletes final records and ended replay jobs whose retention has passed, and their entries in indexes.
--
-- kind: counts
-- KEYS  1 the root of the partition
-- ARGV  1 limit of records and jobs
-- Returns how many were deleted
-- needs: clock, effects, ends, jobs, record
-- record read_old: state plugin webhook outcome status error keptBytes subject

local gone = {} -- key of an index -> ids

local function leaves(key, ref)
  gone[key] = gone[key] or {}
  table.insert(gone[key], ref)
end

local function forget_job(member)
  local id = string.sub(member, #JOB_PREFIX + 1)
  local f = redis.pcall('HMGET', KEY.replay(id), 'plugin', 'finishedAt')
  if f[1] and not f[2] then return end
  if f[1] then leaves(KEY.replays(f[1]), id) end
  redis.call('DEL', KEY.replay(id), KEY.replay_ids(id), KEY.replay_decided(id), KEY.replay_seen(id), KEY.replay_parked(id))
end

local function forget_record(ref)
  local r = read_old(ref)
  if r and not FINAL[r.state] then return end -- its end was begun, and is still to come
  if r then
    leaves(KEY.plugin_index(r.plugin), ref)
    leaves(KEY.webhook_index(r.plugin, r.webhook), ref)
    if r.subject ~= '' then leaves(KEY.subject_index(r.plugin, r.subject), ref) end
    if r.keptBytes ~= '' then sum_kept(r.plugin, -tonumber(r.keptBytes)) end
    leaves(KEY.ends(r.plugin, kind_of(r.state, r.outcome, r.status, r.error)), ref)
  end
  redis.call('DEL', KEY.record(ref), KEY.payload(ref), KEY.result(ref), KEY.steps(ref), KEY.raw(ref),
    KEY.secrets(ref))
end

local old = redis.call('ZRANGEBYSCORE', KEY.expiry(), '-inf', int(now), 'LIMIT', 0, tonumber(ARGV[1]))
for _, ref in ipairs(old) do
  if string.sub(ref, 1, #JOB_PREFIX) == JOB_PREFIX then forget_job(ref) else forget_record(ref) end
  leaves(KEY.expiry(), ref)
end
effects_flush()
for key, refs in pairs(gone) do try(in_pieces, 'ZREM', key, refs, 1) end -- an index may be of another type
return #old
