-- Put before whatever counts or reads the inbox: jobs that ended in it (cancelled, erased) stay listed there for a while, dead and counted.

local function waiting(base) -- how many are alive
  return redis.call('LLEN', base .. ':inbox') - tonumber(redis.call('GET', base .. ':dead') or 0)
end

local function bury(base, count) -- so many dead ones have left it
  if count > 0 and redis.call('EXISTS', base .. ':dead') == 1
    and (redis.call('DECRBY', base .. ':dead', count) <= 0 or redis.call('EXISTS', base .. ':inbox') == 0) then
    redis.call('DEL', base .. ':dead')
  end
end

local function drop_dead(base, most) -- those at its head, up to `most`
  if redis.call('EXISTS', base .. ':dead') == 0 then return end
  while most > 0 do
    local ids, dead = redis.call('LRANGE', base .. ':inbox', 0, math.min(most, 1000) - 1), 0
    while ids[dead + 1] and redis.call('HGET', base .. ':job:' .. ids[dead + 1], 's') ~= 'queued' do dead = dead + 1 end
    if dead > 0 then redis.call('LPOP', base .. ':inbox', dead) end
    bury(base, dead)
    if dead == 0 or dead < #ids then return end
    most = most - dead
  end
end
