#!lua flags=allow-oom
-- handed(base; now, replay id) → 1 | 0 when it should not run
-- Invariant: a replay that a worker was given is not found stalled before it had its time.
return redis.call('ZADD', KEYS[1] .. ':running', 'XX', 'CH', us(clock(ARGV[1])), ARGV[2])
