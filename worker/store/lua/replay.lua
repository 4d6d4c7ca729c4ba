#!lua
-- replay(base; now, job…) → {wake, job…} those that were failed and are queued again
-- Invariant: only relations without success go back, with their own occurred_at; counts and lifetimes are as before the end.
local base, now, back = KEYS[1], clock(ARGV[1]), {}
for i = 2, #ARGV do
  local id, key = ARGV[i], base .. ':job:' .. ARGV[i]
  local got = redis.call('HMGET', key, 's', 'fr', 'fa', 'k', 'b', 'g')
  if got[1] == 'failed' then
    redis.call('HSET', key, 's', 'queued', 'ag', got[2], 'r', got[3], 'fa', 0)
    redis.call('HDEL', key, 'fr', 'x', 'f')
    redis.call('PERSIST', key)
    redis.call('PERSIST', base .. ':event:' .. got[4])
    redis.call('ZREM', base .. ':failed', id)
    redis.call('HINCRBY', base .. ':counts', 'failed', -1)
    if got[5] then redis.call('HINCRBY', base .. ':batch:' .. got[5], 'failed', -1) end
    for guard in string.gmatch(got[6] or '', '%S+') do redis.call('HINCRBY', base .. ':arriving', guard, 1) end
    redis.call('RPUSH', base .. ':inbox', id)
    back[#back + 1] = id
  end
end
if #back == 0 or redis.call('EXISTS', base .. ':wake') == 1 then return {0, unpack(back)} end
wake(base, now, 2000000)
return {1, unpack(back)}
