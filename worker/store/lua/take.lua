#!lua flags=allow-oom
-- take(base; now, token, step, taken, keep) → 'ok' | 'lost' | 'read again'
-- taken: msgpack {jobs: {id…}, guards: {guard → count}, begun: {request id…}, writes}
-- Invariant: a job leaves the inbox in the very step in which its relations become open or get their outcome; if one of them has
-- ended there since it was read, nothing is taken.
local base, now = KEYS[1], clock(ARGV[1])
local mine = whose(base, ARGV[2], ARGV[3])
if mine ~= 'go' then return mine == 'again' and 'ok' or 'lost' end
local taken = cmsgpack.unpack(ARGV[4])
for _, id in ipairs(taken.jobs) do
  if redis.call('HGET', base .. ':job:' .. id, 's') ~= 'queued' then return 'read again' end
end
turn(base, ARGV[2], ARGV[3])
for _, id in ipairs(taken.jobs) do
  redis.call('HSET', base .. ':job:' .. id, 's', 'sending')
  redis.call('HDEL', base .. ':job:' .. id, 'ag')
end
-- By the last one's place, not by their number: dead ones may be listed before it.
local last = #taken.jobs > 0 and redis.call('LPOS', base .. ':inbox', taken.jobs[#taken.jobs])
if last then
  redis.call('LTRIM', base .. ':inbox', last + 1, -1)
  bury(base, last + 1 - #taken.jobs)
end
for guard, count in pairs(taken.guards) do
  if redis.call('HINCRBY', base .. ':arriving', guard, -count) <= 0 then redis.call('HDEL', base .. ':arriving', guard) end
end
for _, id in ipairs(taken.begun) do redis.call('HDEL', base .. ':journal', id) end
taken.writes.counts.sending = #taken.jobs
write(base, now, taken.writes, cmsgpack.unpack(ARGV[5]))
return 'ok'
