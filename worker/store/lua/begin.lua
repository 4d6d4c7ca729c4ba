#!lua flags=allow-oom
-- begin(base; now, token, step, request id, request) → {'ok', signed µs} | {'paused', pause…} | {'lost'}
-- Invariant: no request begins without the lease or against a pause, and every one that may leave stands in the journal first.
local base, now, key = KEYS[1], clock(ARGV[1]), KEYS[1] .. ':journal'
if redis.call('HGET', base .. ':lease', 'token') ~= ARGV[2] then return {'lost'} end
local stopped = pause(base, now)
if stopped then return {'paused', stopped} end
if turn(base, ARGV[2], ARGV[3]) == 'again' then
  local journal = redis.call('HGET', key, ARGV[4])
  if journal then return {'ok', string.match(journal, '^%d+')} end
end
redis.call('HSET', key, ARGV[4], us(now) .. ' ' .. ARGV[5])
return {'ok', us(now)}
