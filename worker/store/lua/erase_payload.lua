#!lua flags=allow-oom
-- erase_payload(base; job, refusal) → 1
-- Invariant: the job of an unreadable message says that it is one, and nothing of what the message held.
local base, job, key = KEYS[1], ARGV[1], KEYS[1] .. ':job:' .. ARGV[1]
redis.call('DEL', base .. ':payload:' .. job)
redis.call('ZREM', base .. ':payloads', job)
if redis.call('EXISTS', key) == 0 then return 1 end
drop_failure(base, job)
redis.call('HDEL', key, 'e')
redis.call('HSET', key, 'x', ARGV[2], 'y', 'erased')
return 1
