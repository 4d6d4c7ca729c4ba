#!lua flags=allow-oom
-- get_pause(base; now) → {reason, detail, since, until, fingerprint} | nil
-- Invariant: a pause whose time is over is none.
return pause_in_force(KEYS[1], read_clock(ARGV[1]))
