#!lua flags=allow-oom
-- touch_replay(base; now, replay id) → 1 | 0 when it should not run
-- Invariant: a replay that was just given to a worker does not count as stalled.
return redis.call('ZADD', KEYS[1] .. ':running', 'XX', 'CH', as_text(read_clock(ARGV[1])), ARGV[2])
