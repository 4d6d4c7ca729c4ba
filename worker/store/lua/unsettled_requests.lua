#!lua flags=no-writes
-- unsettled_requests(base; now) → {now µs, request id, journal entry…}
-- Invariant: nothing changes.
return {as_text(read_clock(ARGV[1])), unpack(redis.call('HGETALL', KEYS[1] .. ':journal'))}
