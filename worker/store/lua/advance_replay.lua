#!lua flags=allow-oom
-- advance_replay(base; now, replay id, from, to, all, back, missed, audit entry) → its state, '' when it is
--   gone
-- missed: msgpack of reason → jobs
-- Invariant: each piece of the set counts once, whoever worked it and however often; the last piece makes the
--   replay done.
local base, now = KEYS[1], read_clock(ARGV[1])
local key = base .. ':replay:' .. ARGV[2]
local state, at = unpack(redis.call('HMGET', key, 'state', 'at'))
if not state then return '' end
if at ~= ARGV[3] or state == 'done' or (at == ARGV[4] and at ~= ARGV[5]) then return state end
redis.call('HSET', key, 'at', ARGV[4])
redis.call('HINCRBY', key, 'back', ARGV[6])
for reason, jobs in pairs(cmsgpack.unpack(ARGV[7])) do redis.call('HINCRBY', key, 'missed:' .. reason, jobs) end
if ARGV[4] ~= ARGV[5] then
  if state == 'running' then redis.call('ZADD', base .. ':running', 'XX', as_text(now), ARGV[2]) end
  return state
end
redis.call('ZREM', base .. ':running', ARGV[2])
redis.call('HSET', key, 'state', 'done', 'finished', as_text(now))
write_audit_entry(base, now, ARGV[8], tonumber(redis.call('HGET', key, 'back')))
return 'done'
