#!lua flags=allow-oom
-- begin(base; now, token, step, request id, request, brake) → {'ok', signed µs} | {'paused', pause…} | {'lost'}
-- brake ('': none): msgpack of {deletes of this request, deletes the plan still holds, most per hour, detail of the pause}
-- Invariant: no request begins without the lease or against a pause, and every one that may leave stands in the journal first.
-- More deletes than the brake allows within an hour pause the account before any of the plan leaves; once resumed, before one too many.
local base, now, key = KEYS[1], clock(ARGV[1]), KEYS[1] .. ':journal'
local mine = whose(base, ARGV[2], ARGV[3])
if mine == 'lost' then return {'lost'} end
-- Before the pause: a step that was carried out stays so, whatever was paused since.
if mine == 'again' then return {'ok', string.match(redis.call('HGET', key, ARGV[4]) or us(now), '^%d+')} end
local stopped = pause(base, now)
if stopped then return {'paused', stopped} end

local function sent_within_the_hour(minute)
  local sent = 0
  for _, at in ipairs(redis.call('HKEYS', base .. ':deletes')) do
    if at ~= 'go' and tonumber(at) <= minute - 60 then redis.call('HDEL', base .. ':deletes', at)
    elseif at ~= 'go' then sent = sent + tonumber(redis.call('HGET', base .. ':deletes', at)) end
  end
  return sent
end
if ARGV[6] ~= '' then
  local deletes, ahead, most, detail = unpack(cmsgpack.unpack(ARGV[6]))
  local minute, go = math.floor(now / 60000000), redis.call('HGET', base .. ':deletes', 'go')
  local looked = go and now < tonumber(go) + 3600000000 -- somebody saw it and let it go on
  local total = sent_within_the_hour(minute) + (looked and deletes or ahead)
  if total > most then
    redis.call('HDEL', base .. ':deletes', 'go')
    redis.call('HSET', base .. ':pause', 'reason', 'brake', 'detail', string.format(detail, total), 'since', us(now), 'until', '0',
      'fingerprint', '')
    return {'paused', pause(base, now)}
  end
  redis.call('HINCRBY', base .. ':deletes', us(minute), deletes)
  redis.call('PEXPIRE', base .. ':deletes', 3660000)
end
turn(base, ARGV[2], ARGV[3])
redis.call('HSET', key, ARGV[4], us(now) .. ' ' .. ARGV[5])
return {'ok', us(now)}
