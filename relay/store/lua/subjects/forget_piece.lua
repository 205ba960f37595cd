-- forget_piece: deletes the contents of a piece of the invocations that concern a subject, newest first, and of those
-- that were not final before and are now. A step is forgotten once its chain, which needs it, has ended.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 subject (keyed hash)  3 records to look at  4 later_ms: when to look at one again that has not ended
-- Returns {done ('1': everything is forgotten, or no job was begun), walked ('1': it has looked at everything), looked,
--         total, forgotten, unfinished: how many are left to be looked at again}
--
-- A repeated call continues with the next piece. What is accepted meanwhile is added to the open ones when its record
-- is written (lib/record.lua), so the job misses nothing, whatever the clock does.

local audit = require('audit')
local contents = require('contents')
local effects = require('effects')
local fields = require('fields')
local KEY = require('keys')
local numbers = require('numbers')
local record = require('record')
local walks = require('walks')
local int, number = numbers.int, numbers.number

local read_forgettable = fields.record('state', 'plugin', 'keptBytes', 'parent', 'forgottenAt')

local KEPT = 3600000 -- ms for which a job that is done can be asked about

local function reply(run, done)
  local f = redis.call('HMGET', run.job, 'walked', 'looked', 'total', 'forgotten')
  return { done and '1' or '', f[1] or '', number(f[2]), number(f[3]), number(f[4]), redis.call('ZCARD', run.open) }
end

local function look(run, ref)
  local r = read_forgettable(run, ref)
  if r and (not record.FINAL[r.state] or (r.parent ~= '' and not record.is_over(run, r.parent))) then
    run.later[#run.later + 1] = int(run.now + run.later_ms)
    run.later[#run.later + 1] = ref
    return
  end
  contents.forget(run, ref, r)
  if not r then redis.call('ZREM', run.index, ref) end
  if r and r.forgottenAt == '' then run.forgotten = run.forgotten + 1 end
  run.over[#run.over + 1] = ref
end

-- Looks again at those whose time is from `first` to `until_when`.
local function look_again(run, first, until_when, limit)
  for _, ref in ipairs(redis.call('ZRANGEBYSCORE', run.open, first, until_when, 'LIMIT', 0, limit - run.again)) do
    run.again = run.again + 1
    look(run, ref)
  end
end

local function main(run)
  local plugin, subject, most = run.args[1], run.args[2], tonumber(run.args[3])
  run.later_ms = tonumber(run.args[4])
  local member = plugin .. '/' .. subject
  run.job, run.open, run.index = KEY.forgetting(run, plugin, subject), KEY.forgetting_open(run, plugin, subject),
    KEY.subject_index(run, plugin, subject)

  if not redis.call('ZSCORE', KEY.forgettings(run), member) then return reply(run, true) end

  run.forgotten = 0
  run.over, run.later = {}, {} -- ids that need not be looked at any more; ids that do, each after its time

  local f = redis.call('HMGET', run.job, 'walked', 'position', 'who')
  local is_walked = f[1] == '1'
  run.again = 0 -- how many it has looked at again

  look_again(run, '-inf', run.now_text, is_walked and most or math.ceil(most / 2))
  look_again(run, '(' .. int(run.now + run.later_ms), '+inf', most) -- the clock has gone back
  local looked, last = 0, nil
  if not is_walked then
    local walk = walks.from({ run.index }, walks.position_from(f[2] or ''), '-inf')
    while run.again + looked < most do
      local item = walks.next(walk)
      is_walked = not item
      if is_walked then break end
      looked, last = looked + 1, item
      look(run, item.ref)
    end
  end

  effects.in_pieces('ZADD', run.open, run.later, 2)
  effects.in_pieces('ZREM', run.open, run.over, 1)
  if run.forgotten > 0 then redis.call('HINCRBY', run.job, 'forgotten', run.forgotten) end
  if looked > 0 then redis.call('HINCRBY', run.job, 'looked', looked) end
  if last then redis.call('HSET', run.job, 'position', walks.position_text(last)) end
  if is_walked then redis.call('HSET', run.job, 'walked', '1') end
  effects.flush(run)

  local first = redis.call('ZRANGE', run.open, 0, 0, 'WITHSCORES')
  if is_walked and not first[1] then
    local all = number(redis.call('HGET', run.job, 'forgotten'))
    audit.add(run, 'forget_subject', f[3] or '', plugin, '', '', 'forgotten', all, '', '')
    redis.call('PEXPIRE', run.job, KEPT)
    redis.call('ZREM', KEY.forgettings(run), member)
    return reply(run, true)
  end
  local at = is_walked and int(math.min(tonumber(first[2]), run.now + run.later_ms)) or run.now_text
  redis.call('ZADD', KEY.forgettings(run), at, member)
  return reply(run, false)
end

return { kind = 'confirms', run = main }
