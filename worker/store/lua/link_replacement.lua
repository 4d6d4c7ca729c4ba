#!lua flags=allow-oom
-- link_replacement(base; now, why (JSON of {by, reason}), mark, job, new job…) → 1
-- mark ('': none): the replay that sent the new jobs
-- Invariant: the job and those sent in its place are linked both ways, as far as they are of this account,
--   and the job is dismissed.
local base, now, mark, job = KEYS[1], read_clock(ARGV[1]), ARGV[3], ARGV[4]
local key, new = base .. ':job:' .. job, {}
for i = 5, #ARGV do
  new[#new + 1] = ARGV[i]
  if redis.call('EXISTS', base .. ':job:' .. ARGV[i]) == 1 then redis.call('HSET', base .. ':job:' .. ARGV[i], 'rp', job) end
end
if redis.call('HGET', key, 's') ~= 'failed' then return 1 end
drop_failure(base, job)
redis.call('HSETNX', key, 'd', as_text(now) .. ' ' .. ARGV[2])
redis.call('HSET', key, 'rb', table.concat(new, ' '))
if mark ~= '' then redis.call('HSET', key, 'rm', mark) end
return 1
