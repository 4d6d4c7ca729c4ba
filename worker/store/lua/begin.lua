#!lua flags=allow-oom
-- begin(base; now, token, step, request id, request, brake, known) → {'ok', signed µs} | {'paused', pause…} |
--   {'lost'} | {'rolled back'}
-- brake ('': none): msgpack of {deletes of this request, deletes the plan still holds, most per hour, detail
--   of the pause}
-- known ('': the holder has not read): msgpack of the request ids that the holder knows to be begun and
--   unsettled
-- Invariant: no request begins without the lease, against a pause, or beside a journal that is not the holder's;
--   and it is in the journal before it may leave.
-- More deletes than the brake allows within an hour pause the account before any of the plan leaves; once
--   resumed, before one too many.
local base, now, key = KEYS[1], read_clock(ARGV[1]), KEYS[1] .. ':journal'
local step = check_step(base, ARGV[2], ARGV[3])
if step == 'lost' or step == 'rolled back' then return {step} end
-- Before the pause: a step that was carried out stays so, also when the account was paused since.
if step == 'repeated' then return {'ok', string.match(redis.call('HGET', key, ARGV[4]) or as_text(now), '^%d+')} end
if ARGV[7] ~= '' then
  local known = cmsgpack.unpack(ARGV[7])
  for _, id in ipairs(known) do
    if redis.call('HEXISTS', key, id) == 0 then return {'rolled back'} end
  end
  if redis.call('HLEN', key) ~= #known then return {'rolled back'} end
end
local stopped = pause_in_force(base, now)
if stopped then return {'paused', stopped} end

local function count_deletes_of_the_hour(minute)
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
  local resumed = go and now < tonumber(go) + BRAKE_WINDOW_US -- a person let the deletes continue
  local total = count_deletes_of_the_hour(minute) + (resumed and deletes or ahead)
  if total > most then
    redis.call('HDEL', base .. ':deletes', 'go')
    redis.call('HSET', base .. ':pause', 'reason', 'brake', 'detail', string.format(detail, total), 'since', as_text(now), 'until', '0',
      'fingerprint', '')
    return {'paused', pause_in_force(base, now)}
  end
  redis.call('HINCRBY', base .. ':deletes', as_text(minute), deletes)
  redis.call('PEXPIRE', base .. ':deletes', BRAKE_WINDOW_US / 1000 + 60000)
end
take_step(base, ARGV[2], ARGV[3])
redis.call('HSET', key, ARGV[4], as_text(now) .. ' ' .. ARGV[5])
return {'ok', as_text(now)}
