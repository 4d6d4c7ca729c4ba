-- Put before what people do: who did what, once per name however often it is told.
-- deed ('': none): msgpack of {name, by, act, what, note}

local DEEDS = 10000 -- remembered per account

local function write_deed(base, now, packed, count)
  if packed == '' then return end
  local name, by, act, what, note = unpack(cmsgpack.unpack(packed))
  if redis.call('HSETNX', base .. ':deed', name, cjson.encode({by, act, what, count, note})) == 0 then return end
  redis.call('ZADD', base .. ':deeds', us(now), name)
  redis.call('HINCRBY', base .. ':numbers', 'deed:' .. act, count)
  while redis.call('ZCARD', base .. ':deeds') > DEEDS do
    redis.call('HDEL', base .. ':deed', redis.call('ZPOPMIN', base .. ':deeds')[1])
  end
end

local function count_deed(base, now, packed, count) -- the same for an act in pieces: each piece counts on
  local name, by, act, what, note = unpack(cmsgpack.unpack(packed))
  local told = redis.call('HGET', base .. ':deed', name)
  if not told then return write_deed(base, now, packed, count) end
  redis.call('HSET', base .. ':deed', name, cjson.encode({by, act, what, cjson.decode(told)[4] + count, note}))
  redis.call('HINCRBY', base .. ':numbers', 'deed:' .. act, count)
end
