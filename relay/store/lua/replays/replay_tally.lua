-- replay_tally: counts what a job would do with a piece of its originals, newest first. Changes nothing.
--
-- kind: reads
-- KEYS  1 the root of the partition
-- ARGV  1 plugin  2 filter (JSON, see include/filter.lua; '' if ids are given)  3 position ('' at the beginning)
--       4 records to examine  5 ended_by (ms, '' for now): only calls final by then
--       6 uncertain ('1': replays uncertain ones too)  7 how many may match at most  8... ids that are given by hand
-- Returns {position of the next piece or '' if there is none, ended_by, how many match (all that were examined of ids that
--          are given, which may be too much for one run), their first ids, groups: {webhook, outcome, status, count,
--          first and last createdAt}, reasons: why, count, ..., left out: why, count, ... (those that the filter
--          selects, and that have been replayed)}
-- needs: clock, filter, groups, originals, walk

local SAMPLE = 10
local plugin, most, left = ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[7])
local most_looked_at = 4 * most -- with steps of chains and members of families; what exceeds it is examined to its end
local ended_by = ARGV[5] ~= '' and tonumber(ARGV[5]) or now
local job = { id = '', plugin = plugin, ended_by = ended_by, uncertain = ARGV[6] == '1' }
local matched, sample, skips, left_out = 0, {}, {}, {}

local function count(ref, known)
  local why, r = judge_original(ref, job, known)
  matched = matched + 1
  if #sample < SAMPLE then table.insert(sample, ref) end
  if r then group_add(r) end
  if why then skips[why] = (skips[why] or 0) + 1 end
end

-- Counts an invocation that the filter selects, but whose replay has succeeded or is under way.
local function count_left_out(selected, r)
  if r.replayedBy == '' or r.parent ~= '' or not matches(selected, r) then return end
  local why = why_not_again(newest_of(r), job)
  if why then left_out[why] = (left_out[why] or 0) + 1 end
end

local function count_walked()
  local f, selected = filter_from(ARGV[2], plugin), filter_from(ARGV[2], plugin)
  selected.unreplayed = nil
  f.endedBy, f['until'] = ended_by, math.min(f['until'] or ended_by, ended_by)
  local position = position_from(ARGV[3])
  if f['until'] < position.created then position = { created = f['until'], ref = '~' } end
  local walk, last = walk_from(narrowest(f), position, f.since or '-inf'), nil
  for _ = 1, most do
    if matched == left or looked_at >= most_looked_at then break end
    local item = walk_on(walk)
    if not item then return nil end
    last = item
    local r = read_original(last.ref)
    if r and matches(f, r) then
      count(last.ref, r)
    elseif r then
      count_left_out(selected, r)
    end
  end
  return last
end

local last
if ARGV[2] ~= '' then
  last = count_walked()
else
  for index = 8, math.min(#ARGV, 7 + left) do
    if looked_at >= most_looked_at then break end
    count(ARGV[index])
  end
end
local function pairs_of(counts)
  local list = {}
  for why, number in pairs(counts) do
    table.insert(list, why)
    table.insert(list, number)
  end
  return list
end

return {
  position_text(last), int(ended_by), matched, sample, groups_list(), pairs_of(skips), pairs_of(left_out),
}
