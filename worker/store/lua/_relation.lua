-- Put before take and settle: what is open of a relation, and what is remembered of it.

local HISTORY = 40 -- jobs remembered per relation

local function many(command, key, arguments) -- one call for as many as the stack of Lua takes
  for i = 1, #arguments, 4000 do redis.call(command, key, unpack(arguments, i, math.min(i + 3999, #arguments))) end
end

-- opens: {relation, blob ('': closed), due, guard, side}…
local function set_opens(base, opens)
  local closed, blobs, dues = {}, {}, {}
  for _, open in ipairs(opens) do
    local relation, blob, due, guard, side = unpack(open)
    if blob == '' then closed[#closed + 1] = relation
    else
      blobs[#blobs + 1] = relation
      blobs[#blobs + 1] = blob
      dues[#dues + 1] = due
      dues[#dues + 1] = relation
    end
    if guard then
      redis.call('ZREM', base .. ':guard', guard .. '|f|' .. relation, guard .. '|h|' .. relation)
      if side ~= '' then redis.call('ZADD', base .. ':guard', 0, guard .. side .. relation) end
    end
  end
  many('HDEL', base .. ':open', closed)
  many('ZREM', base .. ':due', closed)
  many('HSET', base .. ':open', blobs)
  many('ZADD', base .. ':due', dues)
end

local function set_relation(base, relation, fields, keep)
  local key = base .. ':rel:' .. relation
  many('HSET', key, fields)
  redis.call('PEXPIRE', key, keep)
  if redis.call('HLEN', key) > HISTORY + 8 then
    local jobs = {}
    for _, field in ipairs(redis.call('HKEYS', key)) do
      if string.sub(field, 1, 1) == '#' then jobs[#jobs + 1] = field end
    end
    table.sort(jobs) -- job ids sort by time
    for i = #jobs - HISTORY + 1, #jobs do jobs[i] = nil end -- the latest stay
    many('HDEL', key, jobs)
  end
end
