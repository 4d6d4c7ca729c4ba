-- Put before every script: the clock, the right to write, the pause in force, the wake mark.

local function clock(given) -- µs; production gives none
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function us(number) return string.format('%.0f', number) end

-- 'go' before a step of the lease, 'again' when this very step was carried out before, 'lost' for anyone else.
local function whose(base, token, step)
  local held = redis.call('HMGET', base .. ':lease', 'token', 'step')
  if held[1] ~= token then return 'lost' end
  return tonumber(held[2]) > tonumber(step) and 'again' or 'go'
end

local function turn(base, token, step) -- the same, and the step counts as carried out
  local answer = whose(base, token, step)
  if answer == 'go' then redis.call('HINCRBY', base .. ':lease', 'step', 1) end
  return answer
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
