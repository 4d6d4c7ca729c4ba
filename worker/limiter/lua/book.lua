#!lua flags=allow-oom
-- book(rate, burst, max_wait, now): books the account's next slot, or says when to come back. Times in whole microseconds.
-- KEYS   1 {account}:pace, a hash: tat factor failures cooldown open_until probe not_before reason; ends two days after its last use
-- ARGV   rate (per second), burst, max_wait, now ('' asks Redis)
-- Result booked, wait, factor, failures, probe, open_for, why (0 nothing, 1 pace, 2 retry_after, 3 breaker), slot, cost
-- Keeps  at most burst + rate * t slots in any t seconds, whatever the factor did; one probe at a time behind an open breaker.
-- Twice  (redis-py after a lost answer) books a second slot: it costs pace, and of a probe its life of 150 s, never a call too many.
local rate, burst, max_wait = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = tonumber(ARGV[4])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

-- An instant further ahead than it can have been set means that the clock stepped back: it counts as never.
local function believable(instant, lead)
  instant = tonumber(instant or 0)
  return instant <= now + lead and instant or 0
end

local s = redis.call('HMGET', KEYS[1], 'tat', 'factor', 'failures', 'open_until', 'not_before')
local factor, failures = tonumber(s[2] or 1), tonumber(s[3] or 0)
local open_until, not_before = believable(s[4], 300000000), believable(s[5], 86400000000)
local factor_text = string.format('%.17g', factor)

local held = math.max(open_until, not_before)
if held > now then
  return {0, held - now, factor_text, failures, 0, math.max(0, open_until - now), open_until >= not_before and 3 or 2, 0, 0}
end

-- GCRA; the tolerance is the burst at full pace, otherwise halving the pace would hand out a fresh burst.
local full, cost = math.ceil(1000000 / rate), math.ceil(1000000 / (rate * factor))
local tat = believable(s[1], math.max(16, burst) * full + math.max(max_wait, 60000000))
local slot = math.max(tat, now) + cost
local wait = math.max(0, slot - math.max(cost, burst * full) - now)
local why = wait > 0 and 1 or 0
if wait > max_wait then
  return {0, wait, factor_text, failures, 0, 0, why, 0, 0}
end

redis.call('HSET', KEYS[1], 'tat', string.format('%.0f', slot))
local probe = failures >= 5 and 1 or 0
if probe == 1 then
  redis.call('HSET', KEYS[1], 'probe', 1, 'open_until', string.format('%.0f', now + 150000000))
end
redis.call('EXPIRE', KEYS[1], 172800)
return {1, wait, factor_text, failures, probe, 0, why, slot, cost}
