#!lua
-- replay(base; now, mark, since µs, job…) → {wake, job…} those that were failed and are queued again
-- mark ('': none): the replay that asks; what it put back once it names again, whatever became of it, and does not put back twice
-- what was dismissed after `since` stays as it is
-- Invariant: only relations without success go back, with their own occurred_at; counts and lifetimes are as before the end.
-- The same call again names the same jobs and writes none of them. Failures that were erased end superseded.
local base, now, mark, since, back, fresh = KEYS[1], clock(ARGV[1]), ARGV[2], tonumber(ARGV[3]), {0}, 0
local FIELDS = {'s', 'fr', 'fa', 'k', 'b', 'g', 'ag', 'rm', 'su', 'd'}
for i = 4, #ARGV do
  local id, key = ARGV[i], base .. ':job:' .. ARGV[i]
  local state, failed, count, event, batch, guards, again, before, superseded, dismissed = unpack(redis.call('HMGET', key, unpack(FIELDS)))
  local mine, fails = mark ~= '' and before == mark, state == 'failed' and failed
  if dismissed and tonumber(string.match(dismissed, '^%d+')) > since then fails = false end
  if not state then drop_failure(base, id) end -- it was forgotten meanwhile
  if fails and not mine then
    drop_failure(base, id)
    local left = select(2, string.gsub(failed, '%S+', ''))
    local erased = count - left
    redis.call('HSET', key, 's', 'queued', 'ag', failed, 'r', left, 'fa', 0, 'su', (superseded or 0) + erased)
    redis.call('HSET', key, 'bk', us(now))
    redis.call('HDEL', key, 'fr', 'x', 'f', 'd', 'rb')
    if mark ~= '' then redis.call('HSET', key, 'rm', mark) end
    redis.call('PERSIST', key)
    redis.call('PERSIST', base .. ':event:' .. event)
    redis.call('HINCRBY', base .. ':counts', 'failed', -1)
    redis.call('HINCRBY', base .. ':counts', 'relations_failed', -count)
    if erased > 0 then redis.call('HINCRBY', base .. ':counts', 'relations_superseded', erased) end
    if batch then
      redis.call('HINCRBY', base .. ':batch:' .. batch, 'failed', -1)
      redis.call('PERSIST', base .. ':batch:' .. batch)
    end
    for guard in string.gmatch(guards or '', '%S+') do redis.call('HINCRBY', base .. ':arriving', guard, 1) end
    redis.call('RPUSH', base .. ':inbox', id)
    fresh = fresh + 1
  end
  if fails or mine or (mark == '' and state == 'queued' and again) then back[#back + 1] = id end
end
if fresh == 0 or redis.call('EXISTS', base .. ':wake') == 1 then return back end
wake(base, now, 2000000)
back[1] = 1
return back
