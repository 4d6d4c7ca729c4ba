-- Put before scripts that count or read the inbox. Jobs that ended in it (cancelled, erased) stay listed for
--   a while; `dead` counts them.

local function count_waiting(base) -- jobs that did not end in it
  return redis.call('LLEN', base .. ':inbox') - tonumber(redis.call('GET', base .. ':dead') or 0)
end

local function drop_dead_count(base, count) -- so many dead jobs have left the inbox
  if count > 0 and redis.call('EXISTS', base .. ':dead') == 1
    and (redis.call('DECRBY', base .. ':dead', count) <= 0 or redis.call('EXISTS', base .. ':inbox') == 0) then
    redis.call('DEL', base .. ':dead')
  end
end

local function drop_dead_jobs(base, most) -- dead jobs at the head of the inbox, up to `most`
  if redis.call('EXISTS', base .. ':dead') == 0 then return end
  while most > 0 do
    local ids, dead = redis.call('LRANGE', base .. ':inbox', 0, math.min(most, 1000) - 1), 0
    while ids[dead + 1] and redis.call('HGET', base .. ':job:' .. ids[dead + 1], 's') ~= 'queued' do dead = dead + 1 end
    if dead > 0 then redis.call('LPOP', base .. ':inbox', dead) end
    drop_dead_count(base, dead)
    if dead == 0 or dead < #ids then return end
    most = most - dead
  end
end
