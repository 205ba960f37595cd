-- leases: how long a claim's lease is.

local leases = {}

function leases.read_margin(run, index)
  run.lease_margin = tonumber(run.args[index])
end

-- Returns how long a call's lease is.
function leases.length_of(run, r)
  return tonumber(r.timeout) + run.lease_margin
end

return leases
