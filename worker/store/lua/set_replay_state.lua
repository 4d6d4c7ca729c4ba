#!lua flags=allow-oom
-- set_replay_state(base; now, replay id, to (running, stopped), audit entry) → its state, '' when there is no
--   such replay
-- Invariant: a replay that is done stays done; one that was stopped continues where it stood.
local base, now, to = KEYS[1], read_clock(ARGV[1]), ARGV[3]
local key = base .. ':replay:' .. ARGV[2]
local state, run = unpack(redis.call('HMGET', key, 'state', 'run'))
if not state then return '' end
if state == 'done' then return state end
if to == 'running' then
  local lifetime = math.max(redis.call('PTTL', key), redis.call('PTTL', base .. ':running'))
  redis.call('ZADD', base .. ':running', as_text(now), ARGV[2])
  redis.call('PEXPIRE', base .. ':running', lifetime)
else
  redis.call('ZREM', base .. ':running', ARGV[2])
end
if state == to then return state end
redis.call('HSET', key, 'state', to)
if to == 'running' and not run then redis.call('HSET', key, 'run', as_text(now)) end
write_audit_entry(base, now, ARGV[4], tonumber(redis.call('HGET', key, 'at')))
return to
