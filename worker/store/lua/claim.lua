#!lua flags=allow-oom
-- claim(base; now, token, step, claimed, keep) → 'ok' | 'lost' | 'read again'
-- claimed: msgpack of {jobs: {id…}, begun: {request id…}, writes}
-- Invariant: a job leaves the inbox in the very step in which its relations become open or get their outcome;
--   if one of them has
-- ended there since it was read, nothing is claimed.
local base, now = KEYS[1], read_clock(ARGV[1])
local step = check_step(base, ARGV[2], ARGV[3])
if step ~= 'run' then return step == 'repeated' and 'ok' or 'lost' end
local claimed = cmsgpack.unpack(ARGV[4])
for _, id in ipairs(claimed.jobs) do
  if redis.call('HGET', base .. ':job:' .. id, 's') ~= 'queued' then return 'read again' end
end
take_step(base, ARGV[2], ARGV[3])
for _, id in ipairs(claimed.jobs) do
  redis.call('HSET', base .. ':job:' .. id, 's', 'sending')
  redis.call('HDEL', base .. ':job:' .. id, 'ag')
end
-- Cut after the last one's place, not after their number: dead jobs may be listed before it.
local last = #claimed.jobs > 0 and redis.call('LPOS', base .. ':inbox', claimed.jobs[#claimed.jobs])
if last then
  redis.call('LTRIM', base .. ':inbox', last + 1, -1)
  drop_dead_count(base, last + 1 - #claimed.jobs)
end
for _, id in ipairs(claimed.begun) do redis.call('HDEL', base .. ':journal', id) end
claimed.writes.counts.sending = #claimed.jobs
write_all(base, now, claimed.writes, cmsgpack.unpack(ARGV[5]))
return 'ok'
