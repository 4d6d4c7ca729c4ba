#!lua flags=allow-oom
-- stop(base; now, reason, detail, until µs (0: until resumed), fingerprint, deed) → 1 | 0 when a longer one is in force
-- Invariant: a pause that a person has to end is never replaced by one that ends by itself or with other credentials; that the brake
-- held is not forgotten over one by hand.
local base, now = KEYS[1], clock(ARGV[1])
local held = pause(base, now)
if held and held[4] == '0' and (ARGV[4] ~= '0' or ARGV[2] == 'credentials') then return 0 end
if held and held[1] == 'brake' then redis.call('HSET', base .. ':pause', 'braked', 1) end
redis.call('HSET', base .. ':pause', 'reason', ARGV[2], 'detail', ARGV[3], 'since', us(now), 'until', ARGV[4], 'fingerprint', ARGV[5])
write_deed(base, now, ARGV[6], 1)
return 1
