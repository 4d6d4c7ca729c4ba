-- Put before every script: the clock, the lease's steps, the pause in force, the wake mark.

local function read_clock(given) -- µs; only tests give a time
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function as_text(number) return string.format('%.0f', number) end

-- 'run' for the lease's next step, 'repeated' for a step that was carried out before, 'lost' when another
--   holder has the lease, 'rolled back' when the store knows fewer steps than it has acknowledged.
local function check_step(base, token, step)
  local lease = redis.call('HMGET', base .. ':lease', 'token', 'step')
  if lease[1] ~= token then return 'lost' end
  local taken, next_step = tonumber(lease[2]), tonumber(step)
  return taken > next_step and 'repeated' or taken < next_step and 'rolled back' or 'run'
end

local function take_step(base, token, step) -- checks the step and counts it as carried out
  local answer = check_step(base, token, step)
  if answer == 'run' then redis.call('HINCRBY', base .. ':lease', 'step', 1) end
  return answer
end

-- A lease that has more time left than it was ever given was given it before the clock stepped back; it gets
--   its lifetime anew, in which its holder, if there is one, renews it.
local function lease_holder(base)
  local holder = redis.call('HGET', base .. ':lease', 'token')
  if holder and redis.call('PTTL', base .. ':lease') > LEASE_LIFETIME_MS then
    redis.call('PEXPIRE', base .. ':lease', LEASE_LIFETIME_MS)
  end
  return holder
end

local function pause_in_force(base, now) -- nil when there is none
  local pause = redis.call('HMGET', base .. ':pause', 'reason', 'detail', 'since', 'until', 'fingerprint')
  if not pause[1] then return nil end
  if pause[4] ~= '0' and tonumber(pause[4]) <= now then
    redis.call('DEL', base .. ':pause')
    return nil
  end
  if pause[4] ~= '0' and tonumber(pause[3]) > now then -- the clock stepped back: it lasts as long as it was to
    pause[3], pause[4] = as_text(now), as_text(now + tonumber(pause[4]) - tonumber(pause[3]))
    redis.call('HSET', base .. ':pause', 'since', pause[3], 'until', pause[4])
  end
  return pause
end

local function mark_woken(base, now, delay) -- a flush message is under way; after `delay` µs it counts as lost
  redis.call('HSET', base .. ':wake', 'at', as_text(now), 'delay', as_text(delay))
end
