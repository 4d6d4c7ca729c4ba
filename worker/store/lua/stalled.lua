#!lua flags=allow-oom
-- stalled(base; now, age µs) → ids of replays that should run and have not come on for so long
-- Invariant: what was erased, or kept for its week, is not told and is forgotten here.
local base, key = KEYS[1], KEYS[1] .. ':running'
local found = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', us(clock(ARGV[1]) - tonumber(ARGV[2])))) do
  if redis.call('EXISTS', base .. ':replay:' .. name) == 1 then
    found[#found + 1] = name
  else
    redis.call('ZREM', key, name)
  end
end
return found
