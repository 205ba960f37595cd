-- uses: lists what a webhook uses: a chain's steps and its callback, and the secrets that its target refers to.

-- shape: the revision's shape, decoded.
local function used_by(shape)
  local used = {}
  for _, webhook in ipairs(shape.uses) do used[#used + 1] = webhook end
  if shape.callback then used[#used + 1] = shape.callback end
  return used
end

local function secrets_of(shape) return shape.secrets or {} end
