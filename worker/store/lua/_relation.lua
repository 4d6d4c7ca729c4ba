-- Put before take and settle: what is open of a relation, and what is remembered of it.

local HISTORY = 40 -- jobs remembered per relation

local function set_open(base, open)
  local relation, blob, due, guard = open[1], open[2], open[3], open[4]
  if blob == '' then
    redis.call('HDEL', base .. ':open', relation)
    redis.call('ZREM', base .. ':due', relation)
  else
    redis.call('HSET', base .. ':open', relation, blob)
    redis.call('ZADD', base .. ':due', due, relation)
  end
  if guard then
    redis.call('ZREM', base .. ':guard', guard .. '|f|' .. relation, guard .. '|h|' .. relation)
    if open[5] ~= '' then redis.call('ZADD', base .. ':guard', 0, guard .. open[5] .. relation) end
  end
end

local function set_relation(base, relation, fields, keep)
  local key = base .. ':rel:' .. relation
  redis.call('HSET', key, unpack(fields))
  redis.call('PEXPIRE', key, keep)
  if redis.call('HLEN', key) > HISTORY + 8 then
    local jobs = {}
    for _, field in ipairs(redis.call('HKEYS', key)) do
      if string.sub(field, 1, 1) == '#' then jobs[#jobs + 1] = field end
    end
    table.sort(jobs) -- job ids sort by time
    for i = 1, #jobs - HISTORY do redis.call('HDEL', key, jobs[i]) end
  end
end
