-- uses: what a webhook needs of others: of a chain its steps' webhooks, and of any the one that is told of its ends.

-- shape: as the revision keeps it, decoded.
local function used_by(shape)
  local used = {}
  for _, webhook in ipairs(shape.uses) do used[#used + 1] = webhook end
  if shape.callback then used[#used + 1] = shape.callback end
  return used
end
