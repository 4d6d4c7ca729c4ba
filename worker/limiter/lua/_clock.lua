-- Put before every script of the limiter: the clock in whole microseconds; only tests give a time.
local function read_clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return time[1] * SECOND + time[2]
end
