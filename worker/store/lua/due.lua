#!lua flags=allow-oom
-- due(base; now, longest µs, fingerprint) → 1 when a message should be sent (and marks so), else 0
-- Invariant: one message waits per account; while it waits unanswered, the next comes after a doubled delay (R22).
-- A pause for credentials holds against the ones that were rejected only (R20); where that is not known, it holds.
local base, now = KEYS[1], clock(ARGV[1])
if redis.call('EXISTS', base .. ':lease') == 1 then return 0 end
local stopped = pause(base, now)
if stopped and (stopped[1] ~= 'credentials' or stopped[5] == '' or ARGV[3] == '' or stopped[5] == ARGV[3]) then return 0 end
if waiting(base) == 0 and redis.call('HLEN', base .. ':journal') == 0
  and redis.call('ZCOUNT', base .. ':due', '-inf', us(now)) == 0 then return 0 end
local at, delay = unpack(redis.call('HMGET', base .. ':wake', 'at', 'delay'))
if at and tonumber(at) + tonumber(delay) > now then return 0 end
wake(base, now, at and math.min(tonumber(delay) * 2, tonumber(ARGV[2])) or 2000000)
return 1
