#!lua
-- replay(base; now, job…) → {wake, job…} those that were failed and are queued again
-- Invariant: only relations without success go back, with their own occurred_at; counts and lifetimes are as before the end.
-- The same call again names the same jobs and writes none of them.
local base, now, back, fresh = KEYS[1], clock(ARGV[1]), {0}, 0
for i = 2, #ARGV do
  local id, key = ARGV[i], base .. ':job:' .. ARGV[i]
  local state, failed, count, event, batch, guards, again = unpack(redis.call('HMGET', key, 's', 'fr', 'fa', 'k', 'b', 'g', 'ag'))
  if state ~= 'queued' then drop_failure(base, id) end -- also one that was forgotten meanwhile
  if state == 'failed' then
    redis.call('HSET', key, 's', 'queued', 'ag', failed, 'r', count, 'fa', 0)
    redis.call('HDEL', key, 'fr', 'x', 'f')
    redis.call('PERSIST', key)
    redis.call('PERSIST', base .. ':event:' .. event)
    redis.call('HINCRBY', base .. ':counts', 'failed', -1)
    redis.call('HINCRBY', base .. ':counts', 'relations_failed', -count)
    if batch then
      redis.call('HINCRBY', base .. ':batch:' .. batch, 'failed', -1)
      redis.call('PERSIST', base .. ':batch:' .. batch)
    end
    for guard in string.gmatch(guards or '', '%S+') do redis.call('HINCRBY', base .. ':arriving', guard, 1) end
    redis.call('RPUSH', base .. ':inbox', id)
    fresh = fresh + 1
  end
  if state == 'failed' or (state == 'queued' and again) then back[#back + 1] = id end
end
if fresh == 0 or redis.call('EXISTS', base .. ':wake') == 1 then return back end
wake(base, now, 2000000)
back[1] = 1
return back
