#!lua flags=allow-oom
-- stalled_replays(base; now, age µs) → ids of replays that should run and have not advanced for so long
-- Invariant: a replay that was erased or has expired is not named, and leaves the index.
local base, key = KEYS[1], KEYS[1] .. ':running'
local found = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', as_text(read_clock(ARGV[1]) - tonumber(ARGV[2])))) do
  if redis.call('EXISTS', base .. ':replay:' .. name) == 1 then
    found[#found + 1] = name
  else
    redis.call('ZREM', key, name)
  end
end
return found
