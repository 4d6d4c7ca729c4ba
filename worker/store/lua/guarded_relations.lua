#!lua flags=no-writes
-- guarded_relations(base; guard…) → {relation…}…, one per guard (R12)
-- Invariant: nothing changes.
local base, found = KEYS[1], {}
for i, guard in ipairs(ARGV) do
  local from, names = guard .. '|', {}
  for _, member in ipairs(redis.call('ZRANGEBYLEX', base .. ':guard', '[' .. from, '[' .. from .. '\255')) do
    names[#names + 1] = string.sub(member, #from + 3) -- after f| or h|
  end
  found[i] = names
end
return found
