#!lua flags=allow-oom
-- begin(base; now, token, step, request id, request) → {'ok', signed µs} | {'paused', pause…} | {'lost'}
-- Invariant: no request begins without the lease or against a pause, and every one that may leave stands in the journal first.
local base, now, key = KEYS[1], clock(ARGV[1]), KEYS[1] .. ':journal'
local mine = whose(base, ARGV[2], ARGV[3])
if mine == 'lost' then return {'lost'} end
-- Before the pause: a step that was carried out stays so, whatever was paused since.
if mine == 'again' then return {'ok', string.match(redis.call('HGET', key, ARGV[4]) or us(now), '^%d+')} end
local stopped = pause(base, now)
if stopped then return {'paused', stopped} end
turn(base, ARGV[2], ARGV[3])
redis.call('HSET', key, ARGV[4], us(now) .. ' ' .. ARGV[5])
return {'ok', us(now)}
