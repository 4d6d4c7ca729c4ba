#!lua flags=allow-oom
-- cancel(base; now, keep, deed, job…) → {how many were looked at, {cancelled…}, {job, its state or gone…}}
-- Invariant: only what waits in the inbox is cancelled; its relations end superseded, and its entry is dead in the very same step.
-- The same call again names the same jobs, and counts and writes nothing.
-- Some 5,000 relations are ended at once; who gets fewer jobs back asks again.
local base, now, keep = KEYS[1], clock(ARGV[1]), cmsgpack.unpack(ARGV[2])
local looked, relations, fresh, done, refused, totals = 0, 0, 0, {}, {}, {}
for i = 4, #ARGV do
  local state, by = unpack(redis.call('HMGET', base .. ':job:' .. ARGV[i], 's', 'y'))
  if state == 'queued' then
    relations = relations + withdraw(base, now, ARGV[i], 'cancelled', keep, totals)
    fresh = fresh + 1
  end
  if state == 'queued' or by == 'cancelled' then done[#done + 1] = ARGV[i]
  else
    refused[#refused + 1] = ARGV[i]
    refused[#refused + 1] = state or 'gone'
  end
  looked = looked + 1
  if relations >= 5000 then break end
end
for name, by in pairs(totals) do redis.call('HINCRBY', base .. ':counts', name, by) end
drop_dead(base, 1000)
count_deed(base, now, ARGV[3], fresh)
return {looked, done, refused}
