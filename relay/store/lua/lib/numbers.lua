-- numbers: numbers as text. A number with other characters counts as missing, since a record may be damaged.

local numbers = {}

local MOST_TEXTS = 256
local texts, count = {}, 0 -- of the latest integers: the ids of a group share a few times

-- Returns an integer as text; tostring() would write times in microseconds as 1.7e+15.
function numbers.int(value)
  local text = texts[value]
  if not text then
    if count == MOST_TEXTS then texts, count = {}, 0 end
    text = string.format('%.0f', value)
    texts[value], count = text, count + 1
  end
  return text
end

-- Returns a number from text; 0 if there is none.
function numbers.number(text)
  if not text or text == '' then return 0 end
  return tonumber(text) or 0
end

-- Returns a text if it is a whole number; nothing for any other.
function numbers.whole(text)
  return text and #text < 17 and string.find(text, '^%-?%d+$') and text
end

-- Returns the time (ms) in a reference id, a UUIDv7 (RFC 9562), as text.
function numbers.created_of(ref)
  return string.format('%.0f', tonumber(string.sub(ref, 1, 8) .. string.sub(ref, 10, 13), 16) or 0)
end

return numbers
