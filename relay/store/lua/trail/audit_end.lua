-- audit_end: reads the newest part of the audit trail for the worker that is going to sign it; replicas have what it
-- gets, so that a promoted one lacks nothing that is signed. An unsigned entry that is longer than any that the relay
-- writes is replaced by its size and hash, so that whatever is signed can be read.
--
-- KEYS  1 the root of the trail
-- ARGV  1 how many entries at most
-- Returns {segments, the newest segment, the checkpoint over the entries, the signed beginning, entries, now}
--
-- Idempotent: an entry that was replaced is short.

local KEY = require('keys')

local MOST_ENTRY = 1024 * 1024

local function main(run)
  local entries = redis.call('LRANGE', KEY.audit_entries(run), 0, run.args[1] - 1)
  for index, entry in ipairs(entries) do
    if #entry > MOST_ENTRY then
      entries[index] = string.format('%s replaced   %s  too_long  %d ', run.now_text, redis.sha1hex(entry), #entry)
      redis.call('LSET', KEY.audit_entries(run), index - 1, entries[index])
    end
  end
  local segments = redis.call('LLEN', KEY.audit_segments(run))
  local last = redis.call('LINDEX', KEY.audit_segments(run), -1) or ''
  local head, beginning = redis.call('GET', KEY.audit_head(run)) or '', redis.call('GET', KEY.audit_beginning(run)) or ''
  return { segments, last, head, beginning, entries, run.now_text }
end

return { kind = 'confirms', run = main }
