#!lua flags=allow-oom
-- settle(base; now, token, step, request id ('': more chunks follow), writes, keep, record id, record) → 'ok' | 'lost'
-- Invariant: outcomes fall once, by the holder of the lease, and a request leaves the journal with its last outcome.
local base, now = KEYS[1], clock(ARGV[1])
local whose = turn(base, ARGV[2], ARGV[3])
if whose ~= 'go' then return whose == 'again' and 'ok' or 'lost' end
local keep = cmsgpack.unpack(ARGV[6])
write(base, now, cmsgpack.unpack(ARGV[5]), keep)
if ARGV[4] ~= '' then redis.call('HDEL', base .. ':journal', ARGV[4]) end
if ARGV[7] ~= '' then
  redis.call('SET', base .. ':request:' .. ARGV[7], ARGV[8], 'PX', keep[1])
  redis.call('LPUSH', base .. ':requests', ARGV[7])
  redis.call('LTRIM', base .. ':requests', 0, 9999)
end
return 'ok'
