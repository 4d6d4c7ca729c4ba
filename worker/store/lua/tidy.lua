#!lua flags=allow-oom
-- tidy(base; now, after, most) → the acceptance number to go on after, '0' once the end of the index was seen
-- Invariant: the indexes lose only what is forgotten; at most `most` entries of each are looked at, whether or not work ever comes again.
local base, now, after, most = KEYS[1], clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])
pause(base, now) -- one that is over goes
local jobs = redis.call('ZRANGEBYSCORE', base .. ':jobs', '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
for i = 1, #jobs, 2 do
  if redis.call('EXISTS', base .. ':job:' .. jobs[i]) == 0 then
    redis.call('ZREM', base .. ':jobs', jobs[i])
    redis.call('ZREM', base .. ':failed', jobs[i])
  end
end
drop_dead(base, most)
for _ = 1, most do -- oldest first, and they are forgotten in that order
  local oldest = redis.call('LINDEX', base .. ':requests', -1)
  if not oldest or redis.call('EXISTS', base .. ':request:' .. oldest) == 1 then break end
  redis.call('RPOP', base .. ':requests')
end
return #jobs < 2 * most and '0' or jobs[#jobs]
