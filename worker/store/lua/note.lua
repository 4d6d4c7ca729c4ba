#!lua flags=allow-oom
-- note(hash; field, value, …) → how many of the fields are new
-- A hash beside the accounts that never grows large: who is alive says so to a full server, too (R23).
-- Invariant: nothing else changes.
-- A repeated call writes the same.
return redis.call('HSET', KEYS[1], unpack(ARGV))
