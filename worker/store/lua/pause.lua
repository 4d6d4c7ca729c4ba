#!lua flags=allow-oom
-- pause(base; now, reason, detail, until µs (0: until resumed), fingerprint, audit entry) → 1 | 0 when a
--   longer one is in force
-- Invariant: a pause that a person has to end is never replaced by one that ends by itself or with other
--   credentials; a manual pause
-- keeps the mark that the brake had stopped the account.
local base, now = KEYS[1], read_clock(ARGV[1])
local before = pause_in_force(base, now)
if before and before[4] == '0' and (ARGV[4] ~= '0' or ARGV[2] == 'credentials') then return 0 end
if before and before[1] == 'brake' then redis.call('HSET', base .. ':pause', 'braked', 1) end
redis.call('HSET', base .. ':pause', 'reason', ARGV[2], 'detail', ARGV[3], 'since', as_text(now), 'until', ARGV[4], 'fingerprint', ARGV[5])
write_audit_entry(base, now, ARGV[6], 1)
return 1
