#!lua
-- requeue(base; now, mark, since µs, job…) → {wake, job…}: the jobs that were failed and are queued now
-- mark ('': none): the replay that asks; a job it requeued before is named again, whatever became of it, and
--   not requeued twice
-- A job that was dismissed after `since` stays as it is.
-- Invariant: only relations without success go back, with their own occurred_at; counts and lifetimes are as
--   before the job's end.
-- A repeated call names the same jobs and writes none of them. Failures that were erased end superseded.
local base, now, mark, since, requeued, fresh = KEYS[1], read_clock(ARGV[1]), ARGV[2], tonumber(ARGV[3]), {0}, 0
local FIELDS = {'s', 'fr', 'fa', 'k', 'b', 'ag', 'rm', 'su', 'd'}
for i = 4, #ARGV do
  local id, key = ARGV[i], base .. ':job:' .. ARGV[i]
  local state, failed, count, event, batch, again, before, superseded, dismissed = unpack(redis.call('HMGET', key, unpack(FIELDS)))
  local mine, fails = mark ~= '' and before == mark, state == 'failed' and failed
  if dismissed and tonumber(string.match(dismissed, '^%d+')) > since then fails = false end
  if not state then drop_failure(base, id) end -- it expired meanwhile
  if fails and not mine then
    drop_failure(base, id)
    local left = select(2, string.gsub(failed, '%S+', ''))
    local erased = count - left
    redis.call('HSET', key, 's', 'queued', 'ag', failed, 'r', left, 'fa', 0, 'su', (superseded or 0) + erased)
    redis.call('HSET', key, 'bk', as_text(now))
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
    redis.call('RPUSH', base .. ':inbox', id)
    fresh = fresh + 1
  end
  if fails or mine or (mark == '' and state == 'queued' and again) then requeued[#requeued + 1] = id end
end
if fresh == 0 or redis.call('EXISTS', base .. ':wake') == 1 then return requeued end
mark_woken(base, now, FIRST_WAKE_DELAY_US)
requeued[1] = 1
return requeued
