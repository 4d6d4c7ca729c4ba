#!lua flags=allow-oom
-- advance(base; now, replay id, from, to, all, back, missed (msgpack of reason → jobs), deed) → the state it is in, '' when it is gone
-- Invariant: each piece of the set counts once, whoever worked it and however often; with the last piece a replay is done.
local base, now = KEYS[1], clock(ARGV[1])
local key = base .. ':replay:' .. ARGV[2]
local state, at = unpack(redis.call('HMGET', key, 'state', 'at'))
if not state then return '' end
if at ~= ARGV[3] or state == 'done' or (at == ARGV[4] and at ~= ARGV[5]) then return state end
redis.call('HSET', key, 'at', ARGV[4])
redis.call('HINCRBY', key, 'back', ARGV[6])
for reason, jobs in pairs(cmsgpack.unpack(ARGV[7])) do redis.call('HINCRBY', key, 'missed:' .. reason, jobs) end
if ARGV[4] ~= ARGV[5] then
  if state == 'running' then redis.call('ZADD', base .. ':running', 'XX', us(now), ARGV[2]) end
  return state
end
redis.call('ZREM', base .. ':running', ARGV[2])
redis.call('HSET', key, 'state', 'done', 'finished', us(now))
write_deed(base, now, ARGV[8], tonumber(redis.call('HGET', key, 'back')))
return 'done'
