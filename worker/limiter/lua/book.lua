#!lua flags=allow-oom
-- book(rate, burst, max_wait, now): book the account's next slot, or return when to come back. Times in µs.
-- KEYS   1 {account}:pace, a hash: tat factor failures cooldown open_until probe not_before reason
--        steady suspects_after failed_at
-- ARGV   rate (per second), burst, max_wait, now ('' asks Redis)
-- Result booked, wait, factor, failures, probe, reason, slot, cost, suspects_wait, troubled
--        reason: 0 none, 1 pace, 2 retry_after, 3 breaker
-- Keeps  at most burst + rate * t slots in any t seconds, whatever the factor did; one probe at a time behind
--        an open breaker.
-- Twice  (redis-py after a lost answer) books a second slot: that costs pace, and of a probe its lifetime,
--        never a call too many.
local rate, burst, max_wait = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(ARGV[4]) or time[1] * SECOND + time[2]

-- An instant further ahead than it can have been set means that the clock stepped back: it counts as never.
local function ignore_too_far(instant, furthest)
  instant = tonumber(instant or 0)
  return instant <= now + furthest and instant or 0
end

local s = redis.call('HMGET', KEYS[1],
  'tat', 'factor', 'failures', 'open_until', 'not_before', 'suspects_after', 'failed_at')
local factor, failures = tonumber(s[2] or 1), tonumber(s[3] or 0)
local open_until = ignore_too_far(s[4], LONGEST_COOLDOWN)
local not_before = ignore_too_far(s[5], LONGEST_RETRY_AFTER)
local factor_text = string.format('%.17g', factor)

local stopped_until = math.max(open_until, not_before)
if stopped_until > now then
  local reason = open_until >= not_before and 3 or 2
  return {0, stopped_until - now, factor_text, failures, 0, reason, 0, 0, 0, 0}
end

-- GCRA; the tolerance is the burst at full pace, otherwise halving the pace would grant a fresh burst.
local full, cost = math.ceil(SECOND / rate), math.ceil(SECOND / (rate * factor))
local furthest = math.max(1 / SLOWEST_FACTOR, burst) * full + math.max(max_wait, LONGEST_WAIT)
local tat = ignore_too_far(s[1], furthest)
local slot = math.max(tat, now) + cost
local wait = math.max(0, slot - math.max(cost, burst * full) - now)
local reason = wait > 0 and 1 or 0
if wait > max_wait then
  return {0, wait, factor_text, failures, 0, reason, 0, 0, 0, 0}
end

redis.call('HSET', KEYS[1], 'tat', string.format('%.0f', slot))
local probe = failures >= FAILURES_TO_OPEN and 1 or 0
if probe == 1 then
  redis.call('HSET', KEYS[1], 'probe', 1, 'open_until', string.format('%.0f', now + PROBE_LIFETIME))
end
redis.call('EXPIRE', KEYS[1], STATE_LIFETIME)
local suspects_wait = math.max(0, ignore_too_far(s[6], LONGEST_COOLDOWN) - now)
local troubled = ignore_too_far(s[7], TROUBLE) > now - TROUBLE and 1 or 0
return {1, wait, factor_text, failures, probe, reason, slot, cost, suspects_wait, troubled}
