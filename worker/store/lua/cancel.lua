#!lua flags=allow-oom
-- cancel(base; now, keep, audit entry, job…) → {how many were looked at, {cancelled…}, {job, its state or
--   gone…}}
-- Invariant: only what waits in the inbox is cancelled; its relations end superseded, and its entry is dead
--   in the very same step.
-- A repeated call names the same jobs, and counts and writes nothing.
-- Stops once it has ended RELATIONS_PER_CALL relations; the caller goes on with the jobs that were not looked
--   at.
local base, now, keep = KEYS[1], read_clock(ARGV[1]), cmsgpack.unpack(ARGV[2])
local looked, relations, fresh, done, refused, totals = 0, 0, 0, {}, {}, {}
for i = 4, #ARGV do
  local state, by = unpack(redis.call('HMGET', base .. ':job:' .. ARGV[i], 's', 'y'))
  if state == 'queued' then
    relations = relations + cancel_job(base, now, ARGV[i], 'cancelled', keep, totals)
    fresh = fresh + 1
  end
  if state == 'queued' or by == 'cancelled' then done[#done + 1] = ARGV[i]
  else
    refused[#refused + 1] = ARGV[i]
    refused[#refused + 1] = state or 'gone'
  end
  looked = looked + 1
  if relations >= RELATIONS_PER_CALL then break end
end
add_totals(base, totals)
drop_dead_jobs(base, 1000)
count_audit_entry(base, now, ARGV[3], fresh)
return {looked, done, refused}
