#!lua
-- reject(base; now, job, event digest, keep, refusal, body, faults, size, field, value…) → the job that
--   stands for the message
-- Invariant: one job per message however often it comes, failed and waiting for a decision; the latest
--   MAX_PAYLOADS keep their bytes.
local base, now, job, keep = KEYS[1], read_clock(ARGV[1]), ARGV[2], cmsgpack.unpack(ARGV[4])
local event, payloads = base .. ':event:' .. ARGV[3], base .. ':payloads'
local known = redis.call('GET', event)
if known then return string.match(known, '^%S+') end
local number, text = redis.call('HINCRBY', base .. ':counts', 'accepted', 1), as_text(now)
redis.call('HSET', base .. ':job:' .. job, 's', 'failed', 'a', '', 't', '', 'p', '', 'c', '', 'n', text, 'o', text, 'f', text, 'q', number,
  'r', 0, 'z', 0, 'k', ARGV[3], 'x', ARGV[5], unpack(ARGV, 9))
redis.call('HINCRBY', base .. ':counts', 'failed', 1)
redis.call('HINCRBY', base .. ':counts', 'unreadable', 1)
redis.call('PEXPIRE', base .. ':job:' .. job, keep[2])
redis.call('SET', event, job .. ' unreadable', 'PX', math.max(keep[2], keep[4]))
redis.call('ZADD', base .. ':jobs', number, job)
add_failure(base, job, ARGV[5], keep[2])
redis.call('HSET', base .. ':payload:' .. job, 'body', ARGV[6], 'faults', ARGV[7], 'size', ARGV[8])
redis.call('PEXPIRE', base .. ':payload:' .. job, keep[2])
redis.call('ZADD', payloads, number, job)
redis.call('PEXPIRE', payloads, keep[2])
while redis.call('ZCARD', payloads) > MAX_PAYLOADS do
  redis.call('DEL', base .. ':payload:' .. redis.call('ZPOPMIN', payloads)[1])
end
return job
