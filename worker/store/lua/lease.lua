#!lua flags=allow-oom
-- lease(base; now, token, ttl ms) → {1, fingerprint of credentials that were refused before others healed it or '', pause…} | {0}
-- Invariant: at most one token holds an account; the wake mark falls before anything is read, so no change falls between (R22).
local base, now = KEYS[1], clock(ARGV[1])
local holder = redis.call('HGET', base .. ':lease', 'token')
if holder and holder ~= ARGV[2] then return {0} end
redis.call('HSET', base .. ':lease', 'token', ARGV[2], 'step', 0)
redis.call('PEXPIRE', base .. ':lease', ARGV[3])
redis.call('DEL', base .. ':wake')
local refused, till = unpack(redis.call('HMGET', base .. ':refused', 'fingerprint', 'until'))
return {1, refused and now < tonumber(till) and refused or '', pause(base, now)}
