#!lua
-- save_replay(base; now, replay id, start, life ms, about ('': more follow), audit entry, count, entry…) → 1
-- Invariant: the set of a replay grows piece by piece, each once; the last call, with `about`, fixes it and
--   makes the replay known.
local base, now, key = KEYS[1], read_clock(ARGV[1]), KEYS[1] .. ':replay:' .. ARGV[2]
local start, life, about = tonumber(ARGV[3]), ARGV[4], ARGV[5]
if redis.call('EXISTS', key) == 1 then return 1 end
if redis.call('LLEN', key .. ':jobs') == start and #ARGV > 7 then redis.call('RPUSH', key .. ':jobs', unpack(ARGV, 8)) end
redis.call('PEXPIRE', key .. ':jobs', life)
if about == '' then return 1 end
redis.call('HSET', key, 'about', about, 'state', 'previewed', 'made', as_text(now), 'at', 0, 'back', 0)
redis.call('PEXPIRE', key, life)
redis.call('ZADD', base .. ':replays', as_text(now), ARGV[2])
redis.call('ZREMRANGEBYRANK', base .. ':replays', 0, -MAX_REPLAYS - 1)
redis.call('PEXPIRE', base .. ':replays', life)
write_audit_entry(base, now, ARGV[6], tonumber(ARGV[7]))
return 1
