#!lua flags=allow-oom
-- report(feedback, retry_after, reason, now): let an answer change pace and breaker. Times in µs.
-- KEYS   1 {account}:pace (its fields: book.lua)
-- ARGV   feedback (ok, alive, slow, failed, suspect), retry_after (0: none), reason (for operators),
--        now ('' asks Redis)
-- Result what it did to the breaker (0 nothing, 1 opened, 2 closed), time until its first probe
-- Keeps  SLOWEST_FACTOR <= factor <= 1; the breaker opens at the fifth failure in a row for FIRST_COOLDOWN,
--        after each failed probe for twice as long, up to LONGEST_COOLDOWN; any answer closes it; not_before
--        and suspects_after never move back, unless the clock did; what suspected relations bring about
--        neither slows the account nor opens its breaker.
-- Twice  counts the same answer twice: a slower pace for a while, and an unreported change of the breaker.
local feedback, retry_after, reason, time = ARGV[1], tonumber(ARGV[2]), ARGV[3], redis.call('TIME')
local now = tonumber(ARGV[4]) or time[1] * SECOND + time[2]
local s = redis.call('HMGET', KEYS[1], 'factor', 'failures', 'cooldown', 'open_until', 'probe', 'not_before',
  'steady', 'suspects_after')
local factor, failures, cooldown = tonumber(s[1] or 1), tonumber(s[2] or 0), tonumber(s[3] or 0)
local open_until, probe, not_before = tonumber(s[4] or 0), s[5] or '0', tonumber(s[6] or 0)
local steady, suspects_after, change = tonumber(s[7] or 0), tonumber(s[8] or 0), 0

local function later(instant, rest, longest) -- one that is ahead by more than the longest rest counts as never
  return math.max(instant <= now + longest and instant or 0, now + math.min(rest, longest))
end

if feedback == 'failed' or feedback == 'suspect' then
  if failures == 0 then steady = factor end
  redis.call('HSET', KEYS[1], 'failed_at', string.format('%.0f', now))
end
if feedback == 'suspect' then
  failures = math.max(failures, 1)
  suspects_after, retry_after = later(suspects_after, retry_after, LONGEST_COOLDOWN), 0
elseif feedback == 'failed' then
  failures = failures + 1
  -- Failures of requests that were under way when the breaker opened change nothing.
  if probe == '1' or failures == FAILURES_TO_OPEN then
    cooldown = math.min(math.max(2 * cooldown, FIRST_COOLDOWN), LONGEST_COOLDOWN)
    open_until, probe = now + cooldown, '0'
  end
  change = failures == FAILURES_TO_OPEN and 1 or 0
else
  if feedback == 'alive' and failures > 0 and failures < FAILURES_TO_OPEN then
    factor = math.max(factor, steady)
  end
  change = failures >= FAILURES_TO_OPEN and 2 or 0
  failures, cooldown, open_until, probe = 0, 0, 0, '0'
end

if feedback == 'ok' or feedback == 'alive' then factor = math.min(1, factor + FACTOR_STEP)
elseif feedback ~= 'suspect' then factor = math.max(SLOWEST_FACTOR, factor / 2) end
if retry_after > 0 then not_before = later(not_before, retry_after, LONGEST_RETRY_AFTER) end

redis.call('HSET', KEYS[1], 'factor', string.format('%.17g', factor), 'failures', failures, 'probe', probe,
  'reason', reason, 'cooldown', string.format('%.0f', cooldown),
  'open_until', string.format('%.0f', open_until), 'not_before', string.format('%.0f', not_before),
  'steady', string.format('%.17g', steady), 'suspects_after', string.format('%.0f', suspects_after))
redis.call('EXPIRE', KEYS[1], STATE_LIFETIME)
return {change, change == 1 and cooldown or 0}
