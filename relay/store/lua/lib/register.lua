-- register: makes a script a function of the server.
--
-- A script's file returns a table: kind (reads, confirms or counts: relay/store/scripting/library.py), run and, where
-- they apply, is_shared (its keys belong to no partition), may_be_refused (a full server refuses it, since it adds
-- work; the others record work that was done) and is_fenced (it does nothing while a restore fences its partition,
-- since it moves calls on; relay/store/backups/epoch.py).

local constants = require('constants')
local KEY = require('keys')
local runs = require('runs')

local function flags_of(script)
  if script.kind == 'reads' then return { 'no-writes' } end
  return script.may_be_refused and {} or { 'allow-oom' }
end

return function(name, script)
  redis.register_function{
    function_name = name,
    flags = flags_of(script),
    callback = function(keys, args)
      local run = runs.begin(keys[1], args)
      if script.is_fenced and redis.call('HGET', KEY.pending(run), 'fence') then
        return redis.error_reply(constants.FENCED)
      end
      if script.kind == 'confirms' and keys[2] then -- a write for `WAIT`, even if the script is a repeated one
        redis.call('SET', keys[2], 1, 'PX', constants.CONFIRMED_KEPT_MS)
      end
      return script.run(run)
    end,
  }
end
