#!lua flags=allow-oom
-- tidy(base; now, after, most) → the acceptance number to continue after, '0' once the end of the index was
--   seen
-- Invariant: the indexes lose only what has expired; at most `most` entries of each are looked at.
local base, now, after, most = KEYS[1], read_clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])
pause_in_force(base, now) -- deletes one whose time is over
local jobs = redis.call('ZRANGEBYSCORE', base .. ':jobs', '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
for i = 1, #jobs, 2 do
  if redis.call('EXISTS', base .. ':job:' .. jobs[i]) == 0 then
    redis.call('ZREM', base .. ':jobs', jobs[i])
    redis.call('ZREM', base .. ':failed', jobs[i])
  end
end
drop_dead_jobs(base, most)
redis.call('DEL', base .. ':arriving') -- of an earlier release
for _ = 1, most do -- oldest first, which is the order in which they expire
  local oldest = redis.call('LINDEX', base .. ':requests', -1)
  if not oldest or redis.call('EXISTS', base .. ':request:' .. oldest) == 1 then break end
  redis.call('RPOP', base .. ':requests')
end
return #jobs < 2 * most and '0' or jobs[#jobs]
