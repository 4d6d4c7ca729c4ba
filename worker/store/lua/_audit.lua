-- Put before scripts of people's acts: the audit log, one entry per id however often it is written.
-- packed ('': none): msgpack of {id, by, act, what, note}

local function write_audit_entry(base, now, packed, count)
  if packed == '' then return end
  local id, by, act, what, note = unpack(cmsgpack.unpack(packed))
  if redis.call('HSETNX', base .. ':deed', id, cjson.encode({by, act, what, count, note})) == 0 then return end
  redis.call('ZADD', base .. ':deeds', as_text(now), id)
  redis.call('HINCRBY', base .. ':numbers', 'deed:' .. act, count)
  while redis.call('ZCARD', base .. ':deeds') > MAX_AUDIT_ENTRIES do
    redis.call('HDEL', base .. ':deed', redis.call('ZPOPMIN', base .. ':deeds')[1])
  end
end

local function count_audit_entry(base, now, packed, count) -- for an act done in pieces: each piece adds its count
  local id, by, act, what, note = unpack(cmsgpack.unpack(packed))
  local kept = redis.call('HGET', base .. ':deed', id)
  if not kept then return write_audit_entry(base, now, packed, count) end
  redis.call('HSET', base .. ':deed', id, cjson.encode({by, act, what, cjson.decode(kept)[4] + count, note}))
  redis.call('HINCRBY', base .. ':numbers', 'deed:' .. act, count)
end
