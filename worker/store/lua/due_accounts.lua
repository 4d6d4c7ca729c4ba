#!lua flags=allow-oom
-- due_accounts(base; now, fingerprint) → 1 when a flush message should be sent (and marks that it was), else
--   0; for one account
-- Invariant: one message is under way per account; while it is not answered, the next follows after a doubled
--   delay (R22).
-- A pause for credentials holds against the rejected ones only (R20); where these are not known, it holds.
local base, now = KEYS[1], read_clock(ARGV[1])
if lease_holder(base) then return 0 end
local stopped = pause_in_force(base, now)
if stopped and (stopped[1] ~= 'credentials' or stopped[5] == '' or ARGV[2] == '' or stopped[5] == ARGV[2]) then return 0 end
if count_waiting(base) == 0 and redis.call('HLEN', base .. ':journal') == 0
  and redis.call('ZCOUNT', base .. ':due', '-inf', as_text(now)) == 0 then return 0 end
local at, delay = unpack(redis.call('HMGET', base .. ':wake', 'at', 'delay'))
-- A mark that is further ahead than any delay was made before the clock stepped back.
if at and tonumber(at) <= now + LONGEST_WAKE_DELAY_US and tonumber(at) + tonumber(delay) > now then return 0 end
mark_woken(base, now, at and math.min(tonumber(delay) * 2, LONGEST_WAKE_DELAY_US) or FIRST_WAKE_DELAY_US)
return 1
