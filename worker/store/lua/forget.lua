#!lua flags=allow-oom
-- forget(base; job, refusal) → 1
-- Invariant: a job that stands for an unreadable message keeps that it does, and nothing of what the message said.
local base, job, key = KEYS[1], ARGV[1], KEYS[1] .. ':job:' .. ARGV[1]
redis.call('DEL', base .. ':payload:' .. job)
redis.call('ZREM', base .. ':payloads', job)
if redis.call('EXISTS', key) == 0 then return 1 end
drop_failure(base, job)
redis.call('HDEL', key, 'e')
redis.call('HSET', key, 'x', ARGV[2], 'y', 'erased')
return 1
