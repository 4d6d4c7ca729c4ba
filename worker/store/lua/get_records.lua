#!lua flags=no-writes
-- get_records(base; relation…) → {{relation, open, memory}…} in the order of the arguments
-- Invariant: nothing changes.
local base, found = KEYS[1], {}
for i, relation in ipairs(ARGV) do
  found[i] = {relation, redis.call('HGET', base .. ':open', relation), redis.call('HGET', base .. ':rel:' .. relation, 'k')}
end
return found
