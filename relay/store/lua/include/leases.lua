-- leases: how long a claim's lease is.

local lease_margin = 0 -- ms: by how much leases are longer than their calls' timeouts

local function lease_margin_from(index)
  lease_margin = tonumber(ARGV[index])
end

-- Returns how long a call's lease is; a chain's parent sends nothing itself.
local function lease_of(r)
  return (r.chain == '1' and 0 or tonumber(r.timeout)) + lease_margin
end
