#!lua flags=allow-oom
-- paused(base; now) → {reason, detail, since, until, fingerprint} | nil
-- Invariant: a pause whose time is over is none.
return pause(KEYS[1], clock(ARGV[1]))
