-- forget_piece: destroys the contents of a piece of the invocations that concern a subject, newest first, and of those
-- that were not final before and are now. A step of a chain is forgotten when the chain has ended, which needs it.
--
-- kind: confirms
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 subject (keyed hash)  3 records to look at  4 later_ms: when to look at one again that has not ended
-- Returns {done ('1': everything is forgotten, or no job was begun), walked ('1': it has looked at everything), looked,
--         total, forgotten, unfinished: how many are left to be looked at again}
--
-- A repeated call continues with the next piece. What is accepted meanwhile is added to the open ones by whatever writes
-- its record (include/record.lua); so the job misses nothing, whatever the clock does.
-- needs: audit, clock, contents, effects, record, walk
-- record read_forgettable: state plugin keptBytes parent forgottenAt

local KEPT = 3600000 -- ms for which a job that is done can be asked about
local plugin, subject, most, later_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local member = plugin .. '/' .. subject
local job, open, index = KEY.forgetting(plugin, subject), KEY.forgetting_open(plugin, subject), KEY.subject_index(plugin, subject)

local function reply(done)
  local f = redis.call('HMGET', job, 'walked', 'looked', 'total', 'forgotten')
  return { done and '1' or '', f[1] or '', number(f[2]), number(f[3]), number(f[4]), redis.call('ZCARD', open) }
end

if not redis.call('ZSCORE', KEY.forgettings(), member) then return reply(true) end

local forgotten = 0
local over, later = {}, {} -- ids that need not be looked at any more; ids that do, each after its time

local function look(ref)
  local r = read_forgettable(ref)
  if r and (not FINAL[r.state] or (r.parent ~= '' and not is_over(r.parent))) then
    later[#later + 1] = int(now + later_ms)
    later[#later + 1] = ref
    return
  end
  forget_contents(ref, r)
  if not r then redis.call('ZREM', index, ref) end
  if r and r.forgottenAt == '' then forgotten = forgotten + 1 end
  over[#over + 1] = ref
end

local f = redis.call('HMGET', job, 'walked', 'position', 'who')
local is_walked = f[1] == '1'
local again = 0 -- how many it has looked at again

-- Looks again at those whose time is between two.
local function look_again(first, until_when, limit)
  for _, ref in ipairs(redis.call('ZRANGEBYSCORE', open, first, until_when, 'LIMIT', 0, limit - again)) do
    again = again + 1
    look(ref)
  end
end

look_again('-inf', now_text, is_walked and most or math.ceil(most / 2))
look_again('(' .. int(now + later_ms), '+inf', most) -- the clock has gone back
local looked, last = 0, nil
if not is_walked then
  local walk = walk_from({ index }, position_from(f[2] or ''), '-inf')
  while again + looked < most do
    local item = walk_on(walk)
    is_walked = not item
    if is_walked then break end
    looked, last = looked + 1, item
    look(item.ref)
  end
end

in_pieces('ZADD', open, later, 2)
in_pieces('ZREM', open, over, 1)
if forgotten > 0 then redis.call('HINCRBY', job, 'forgotten', forgotten) end
if looked > 0 then redis.call('HINCRBY', job, 'looked', looked) end
if last then redis.call('HSET', job, 'position', position_text(last)) end
if is_walked then redis.call('HSET', job, 'walked', '1') end
effects_flush()

local first = redis.call('ZRANGE', open, 0, 0, 'WITHSCORES')
if is_walked and not first[1] then
  audit('forget_subject', f[3] or '', plugin, '', '', 'forgotten', number(redis.call('HGET', job, 'forgotten')), '', '')
  redis.call('PEXPIRE', job, KEPT)
  redis.call('ZREM', KEY.forgettings(), member)
  return reply(true)
end
redis.call('ZADD', KEY.forgettings(), is_walked and int(math.min(tonumber(first[2]), now + later_ms)) or now_text, member)
return reply(false)
