#!lua flags=allow-oom
-- settle(base; now, token, step, request id ('': more chunks follow), writes, keep, record id, record) → 'ok'
--   | 'lost' | 'rolled back'
-- Invariant: outcomes are written once, by the holder of the lease; a request leaves the journal with its
--   last outcome.
local base, now = KEYS[1], read_clock(ARGV[1])
local step = take_step(base, ARGV[2], ARGV[3])
if step ~= 'run' then return step == 'repeated' and 'ok' or step end
local keep = cmsgpack.unpack(ARGV[6])
write_all(base, now, cmsgpack.unpack(ARGV[5]), keep)
if ARGV[4] ~= '' then redis.call('HDEL', base .. ':journal', ARGV[4]) end
if ARGV[7] ~= '' then
  redis.call('SET', base .. ':request:' .. ARGV[7], ARGV[8], 'PX', keep[1])
  redis.call('LPUSH', base .. ':requests', ARGV[7])
  redis.call('LTRIM', base .. ':requests', 0, MAX_REQUESTS - 1)
end
return 'ok'
