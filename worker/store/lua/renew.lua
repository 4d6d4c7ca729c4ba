#!lua flags=allow-oom
-- renew(base; token, ttl ms) → 1 | 0 when another holder has the account, or nobody
-- Invariant: only its holder prolongs a lease, and one that ran out does not come back.
local base = KEYS[1]
if redis.call('HGET', base .. ':lease', 'token') ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', base .. ':lease', ARGV[2])
