#!lua flags=allow-oom
-- take(base; now, token, step, taken, keep) → 'ok' | 'lost'
-- taken: msgpack {jobs: {id…}, guards: {guard → count}, begun: {request id…}, writes}
-- Invariant: a job leaves the inbox in the very step in which its relations become open or get their outcome.
local base, now = KEYS[1], clock(ARGV[1])
local whose = turn(base, ARGV[2], ARGV[3])
if whose ~= 'go' then return whose == 'again' and 'ok' or 'lost' end
local taken, sending = cmsgpack.unpack(ARGV[4]), 0
for _, id in ipairs(taken.jobs) do
  local key = base .. ':job:' .. id
  if redis.call('EXISTS', key) == 1 then
    redis.call('HSET', key, 's', 'sending')
    redis.call('HDEL', key, 'ag')
    sending = sending + 1
  end
end
-- By the last one's place, not by their number: jobs that were erased meanwhile are still listed before it.
local last = #taken.jobs > 0 and redis.call('LPOS', base .. ':inbox', taken.jobs[#taken.jobs])
if last then redis.call('LTRIM', base .. ':inbox', last + 1, -1) end
for guard, count in pairs(taken.guards) do
  if redis.call('HINCRBY', base .. ':arriving', guard, -count) <= 0 then redis.call('HDEL', base .. ':arriving', guard) end
end
for _, id in ipairs(taken.begun) do redis.call('HDEL', base .. ':journal', id) end
taken.writes.counts.sending = sending
write(base, now, taken.writes, cmsgpack.unpack(ARGV[5]))
return 'ok'
