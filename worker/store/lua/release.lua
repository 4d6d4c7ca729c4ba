#!lua flags=allow-oom
-- release(base; now, token, soon µs, window µs, rest µs) → µs until work is next due, -1 when there is none,
--   or 'lost'
-- Invariant: work that is due within `soon` leaves with a wake mark, so that its message is sent once; later
--   work is the sweep's.
-- Nobody is woken before an account's rest is over.
local base, now = KEYS[1], read_clock(ARGV[1])
if redis.call('HGET', base .. ':lease', 'token') ~= ARGV[2] then return 'lost' end
if redis.call('HGET', base .. ':work', 'full') == '1' then redis.call('DEL', base .. ':work')
else redis.call('HDEL', base .. ':work', 'held') end
redis.call('DEL', base .. ':lease')
local due = tonumber(redis.call('ZRANGE', base .. ':due', 0, 0, 'WITHSCORES')[2])
if redis.call('HLEN', base .. ':journal') > 0 then due = now end
drop_dead_jobs(base, 1000)
local head = redis.call('LINDEX', base .. ':inbox', 0)
if head then -- it waits `window` from its acceptance
  local since = tonumber(redis.call('HGET', base .. ':job:' .. head, 'n') or 0)
  due = math.min(due or math.huge, since + tonumber(ARGV[4]))
end
if not due then
  redis.call('DEL', base .. ':work') -- nothing is left that could have killed a worker
  return '-1'
end
local stopped = pause_in_force(base, now)
if stopped then
  if stopped[4] == '0' then return '-1' end
  due = math.max(due, tonumber(stopped[4]))
end
local pace_rest = tonumber(ARGV[5])
local rest = math.max(0, due - now, pace_rest)
if rest <= tonumber(ARGV[3]) then mark_woken(base, now, rest + FIRST_WAKE_DELAY_US)
elseif pace_rest > 0 then mark_woken(base, now, pace_rest) end
return as_text(rest)
