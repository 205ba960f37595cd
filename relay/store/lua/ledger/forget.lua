-- forget: deletes the payload and result of an invocation, and those of a chain's steps; the rest of the records
-- stays.
--
-- KEYS  1 the root of the partition
-- ARGV  1 reference id  2 actor
-- Returns forgotten, unknown, or unfinished (nothing was deleted: it, one of its steps, or its chain is not final)
--
-- Idempotent except for the audit entry: a forgotten invocation keeps the time at which it was first forgotten.

local audit = require('audit')
local contents = require('contents')
local effects = require('effects')
local fields = require('fields')
local KEY = require('keys')
local record = require('record')

local read_contents = fields.record('state', 'plugin', 'keptBytes', 'webhook', 'parent')

-- Returns the ids of an invocation, its steps and their steps; nothing if one of them is not final.
local function family_of(run, ref, refs)
  local r = read_contents(run, ref)
  if r and not record.FINAL[r.state] then return nil end
  table.insert(refs, ref)
  for _, step in ipairs(redis.call('LRANGE', KEY.steps(run, ref), 0, -1)) do
    if not family_of(run, step, refs) then return nil end
  end
  return refs
end

local function main(run)
  local asked = read_contents(run, run.args[1])
  if not asked then return 'unknown' end
  local is_needed = asked.parent ~= '' and not record.is_over(run, asked.parent) -- by the chain that it is a step of
  local refs = not is_needed and family_of(run, run.args[1], {})
  audit.add(run, 'forget', run.args[2], asked.plugin, asked.webhook, '', refs and 'forgotten' or 'conflict', '', '',
    run.args[1])
  if not refs then return 'unfinished' end
  for _, ref in ipairs(refs) do
    contents.forget(run, ref, read_contents(run, ref))
  end
  effects.flush(run)
  return 'forgotten'
end

return { kind = 'confirms', run = main }
