#!lua flags=allow-oom
-- dismiss(base; now, audit entry, why, job…) → {how many were looked at, {dismissed…}, {job, its state or
--   gone…}}
-- why: JSON of {by, reason}
-- Invariant: a dismissed job stays failed and is kept as long as before; it only waits for a decision no
--   more.
-- A repeated call names the same jobs, and counts and writes nothing.
local base, now, fresh, done, refused = KEYS[1], read_clock(ARGV[1]), 0, {}, {}
for i = 4, #ARGV do
  local key = base .. ':job:' .. ARGV[i]
  local state = redis.call('HGET', key, 's')
  if state == 'failed' then
    drop_failure(base, ARGV[i])
    fresh = fresh + redis.call('HSETNX', key, 'd', as_text(now) .. ' ' .. ARGV[3])
    done[#done + 1] = ARGV[i]
  else
    refused[#refused + 1] = ARGV[i]
    refused[#refused + 1] = state or 'gone'
  end
end
count_audit_entry(base, now, ARGV[2], fresh)
return {#ARGV - 3, done, refused}
