-- cancel: an operator stops an invocation that no worker has taken.
--
-- KEYS  none
-- ARGV  1-3 retention ms: ok, failed, rejected  4 plugin ('' for any)  5 reference id
-- Returns {cancelled, refused or unknown, state}
--
-- Idempotent: a cancelled one is answered as the first time.
-- include: clock, effects, places, finish

retention_from(1)
local plugin, ref = ARGV[4], ARGV[5]
local f = redis.call('HMGET', KEY.record(ref), 'state', 'plugin', 'webhook', 'requestBytes', 'waiters', 'parked')
if not f[1] or (plugin ~= '' and f[2] ~= plugin) then return { 'unknown', '' } end
if f[1] == 'cancelled' then return { 'cancelled', f[1] } end
if f[1] ~= 'queued' and f[1] ~= 'retrying' then return { 'refused', f[1] } end
finish(ref, { state = f[1], plugin = f[2], webhook = f[3], requestBytes = f[4], waiters = f[5], parked = f[6] },
  { state = 'cancelled', outcome = '', status = '', error = '', result = '', token = '' })
effects_flush()
return { 'cancelled', 'cancelled' }
