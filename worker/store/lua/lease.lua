#!lua flags=allow-oom
-- lease(base; now, token, ttl ms) → {1, refused, pause…} | {0}
-- refused: the fingerprint of credentials that were refused before others ended that pause, or ''
-- Invariant: at most one token holds an account; the wake mark goes before anything is read, so that no
--   change is missed (R22).
local base, now = KEYS[1], read_clock(ARGV[1])
local holder = lease_holder(base)
if holder and holder ~= ARGV[2] then return {0} end
redis.call('HSET', base .. ':lease', 'token', ARGV[2], 'step', 0)
redis.call('PEXPIRE', base .. ':lease', ARGV[3])
redis.call('DEL', base .. ':wake')
local refused, till = unpack(redis.call('HMGET', base .. ':refused', 'fingerprint', 'until'))
return {1, refused and now < tonumber(till) and refused or '', pause_in_force(base, now)}
