-- replay_tally: counts what a job would do with a piece of its originals, newest first. Changes nothing.
--
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 filter (JSON, see lib/filter.lua; '' if ids are given)  3 position ('' at the beginning)
--       4 records to examine  5 ended_by (ms, '' for now): only calls final by then
--       6 uncertain ('1': replays uncertain ones too)  7 how many may match at most  8... ids that are given by hand
-- Returns {position of the next piece or '' if there is none, ended_by, how many match (all that were examined of ids that
--          are given, which may be too much for one run), their first ids, groups: {webhook, outcome, status, count,
--          first and last createdAt}, reasons: why, count, ..., left out: why, count, ... (those that the filter
--          selects, and that have been replayed)}

local filter = require('filter')
local groups = require('groups')
local int = require('numbers').int
local originals = require('originals')
local walks = require('walks')

local SAMPLE = 10

local function count(run, ref, known)
  local why, r = originals.judge(run, ref, run.job, known)
  run.matched = run.matched + 1
  if #run.sample < SAMPLE then table.insert(run.sample, ref) end
  if r then groups.add(run, r) end
  if why then run.skips[why] = (run.skips[why] or 0) + 1 end
end

-- Counts an invocation that the filter selects, but whose replay has succeeded or is under way.
local function count_left_out(run, selected, r)
  if r.replayedBy == '' or r.parent ~= '' or not filter.selects(selected, r) then return end
  local why = originals.why_not_again(originals.newest_of(run, r), run.job)
  if why then run.left_out[why] = (run.left_out[why] or 0) + 1 end
end

local function count_walked(run)
  local f, selected = filter.from(run.args[2], run.plugin), filter.from(run.args[2], run.plugin)
  f.endedBy, f['until'] = run.ended_by, math.min(f['until'] or run.ended_by, run.ended_by)
  local position = walks.position_from(run.args[3])
  if f['until'] < position.created then position = { created = f['until'], ref = '~' } end
  local walk, last = walks.from(filter.narrowest(run, f), position, f.since or '-inf'), nil
  for _ = 1, run.most do
    if run.matched == run.left or run.looked_at >= run.most_looked_at then break end
    local item = walks.next(walk)
    if not item then return nil end
    last = item
    local r = originals.read_original(run, last.ref)
    if r and originals.is_taken(run, f, r, run.job) then
      count(run, last.ref, r)
    elseif r then
      count_left_out(run, selected, r)
    end
  end
  return last
end
local function pairs_of(counts)
  local list = {}
  for why, number in pairs(counts) do
    table.insert(list, why)
    table.insert(list, number)
  end
  return list
end

local function main(run)
  run.plugin, run.most, run.left = run.args[1], tonumber(run.args[4]), tonumber(run.args[7])
  run.most_looked_at = 4 * run.most -- with steps of chains and members of families; what exceeds it is examined to its end
  run.ended_by = run.args[5] ~= '' and tonumber(run.args[5]) or run.now
  run.job = { id = '', plugin = run.plugin, ended_by = run.ended_by, uncertain = run.args[6] == '1' }
  run.matched, run.sample, run.skips, run.left_out = 0, {}, {}, {}

  local last
  if run.args[2] ~= '' then
    last = count_walked(run)
  else
    for index = 8, math.min(#run.args, 7 + run.left) do
      if run.looked_at >= run.most_looked_at then break end
      count(run, run.args[index])
    end
  end

  return {
    walks.position_text(last), int(run.ended_by), run.matched, run.sample, groups.list(run), pairs_of(run.skips),
    pairs_of(run.left_out),
  }
end

return { kind = 'reads', run = main }
