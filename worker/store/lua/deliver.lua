#!lua
-- deliver(meta, kept, requests, genuine, refused, never;
--   class ('genuine' or 'refused'), now, id ('': none), delivery, request, age µs, most bytes, lifetime ms)
--   → nil
-- `kept` has '<times> <first µs> <delivery>' by id, `requests` what was kept of each request,
--   the class's zset ids by time (µs).
-- Invariant: a class has exactly the entries of its zset, and its field of `meta` their bytes; the newest is
--   always kept, the others only while they are not older than `age` and all have at most `most bytes`.
--   At most FORGOTTEN_AT_ONCE go per call.
-- A repeated call counts the delivery once more.
local class, now, id, age, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[6]), tonumber(ARGV[7])
local time = redis.call('TIME')
now = tonumber(now) or tonumber(time[1]) * 1000000 + tonumber(time[2])
local order = class == 'genuine' and KEYS[4] or KEYS[5]
local bytes = tonumber(redis.call('HGET', KEYS[1], class) or 0)

local function forget(name)
  bytes = bytes - redis.call('HSTRLEN', KEYS[2], name) - redis.call('HSTRLEN', KEYS[3], name)
  redis.call('HDEL', KEYS[2], name)
  redis.call('HDEL', KEYS[3], name)
  redis.call('ZREM', order, name)
end

if id ~= '' then
  local newest = redis.call('ZREVRANGE', order, 0, 0, 'WITHSCORES')
  -- No two are of one time, so that a page may end between them.
  local at = math.max(now, tonumber(newest[2] or 0) + 1)
  local times, first = 1, string.format('%.0f', at)
  local known = redis.call('HGET', KEYS[2], id)
  if known then
    times, first = string.match(known, '^(%d+) (%d+) ')
    times = tonumber(times) + 1
    forget(id)
  end
  local text = times .. ' ' .. first .. ' ' .. ARGV[4]
  redis.call('HSET', KEYS[2], id, text)
  if ARGV[5] ~= '' then redis.call('HSET', KEYS[3], id, ARGV[5]) end
  redis.call('ZADD', order, string.format('%.0f', at), id)
  bytes = bytes + #text + #ARGV[5]
end

local oldest = redis.call('ZRANGE', order, 0, FORGOTTEN_AT_ONCE - 1, 'WITHSCORES')
for i = 1, #oldest, 2 do
  if oldest[i] == id or (bytes <= most and tonumber(oldest[i + 1]) >= now - age) then break end
  forget(oldest[i])
end
redis.call('HSET', KEYS[1], class, string.format('%.0f', bytes))
for i = 1, 5 do redis.call('PEXPIRE', KEYS[i], ARGV[8]) end
