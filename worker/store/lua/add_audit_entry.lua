#!lua flags=allow-oom
-- add_audit_entry(base; now, audit entry, count) → 1
-- Invariant: an entry is kept once, as it was first written.
local base = KEYS[1]
write_audit_entry(base, read_clock(ARGV[1]), ARGV[2], tonumber(ARGV[3]))
return 1
