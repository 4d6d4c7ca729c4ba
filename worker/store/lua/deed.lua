#!lua flags=allow-oom
-- deed(base; now, deed, count) → 1
-- Invariant: the same deed told twice is remembered once, as it was told first.
local base = KEYS[1]
write_deed(base, clock(ARGV[1]), ARGV[2], tonumber(ARGV[3]))
return 1
