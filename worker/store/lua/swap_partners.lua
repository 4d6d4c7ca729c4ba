#!lua flags=no-writes
-- swap_partners(base; guard…) → {{relations that go first, earliest due µs, arriving, relations that wait}…},
--   one per guard (R12)
-- Invariant: nothing changes.
local base, found = KEYS[1], {}
local function members(guard, side)
  local from, names = guard .. side, {}
  for _, member in ipairs(redis.call('ZRANGEBYLEX', base .. ':guard', '[' .. from, '[' .. from .. '\255')) do
    names[#names + 1] = string.sub(member, #from + 1)
  end
  return names
end
for i, guard in ipairs(ARGV) do
  local first, due = members(guard, '|f|'), false
  for _, relation in ipairs(first) do
    local at = tonumber(redis.call('ZSCORE', base .. ':due', relation) or 0)
    due = due and math.min(due, at) or at
  end
  found[i] = {first, as_text(due or 0), tonumber(redis.call('HGET', base .. ':arriving', guard) or 0), members(guard, '|h|')}
end
return found
