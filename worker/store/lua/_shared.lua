-- Put before every script: the clock, the right to write, and the one way outcomes are written.

local function clock(given) -- µs; production gives none
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function us(number) return string.format('%.0f', number) end

-- 'go' once per step of the lease, 'again' when this very call was carried out before, 'lost' for anyone else.
local function turn(base, token, step)
  local held = redis.call('HMGET', base .. ':lease', 'token', 'step')
  if held[1] ~= token then return 'lost' end
  if tonumber(held[2]) > tonumber(step) then return 'again' end
  redis.call('HINCRBY', base .. ':lease', 'step', 1)
  return 'go'
end

local function pause(base, now) -- the pause in force, or nil
  local held = redis.call('HMGET', base .. ':pause', 'reason', 'detail', 'since', 'until', 'fingerprint')
  if not held[1] then return nil end
  if held[4] ~= '0' and tonumber(held[4]) <= now then
    redis.call('DEL', base .. ':pause')
    return nil
  end
  return held
end

local function wake(base, now, delay)
  redis.call('HSET', base .. ':wake', 'at', us(now), 'delay', us(delay))
end
