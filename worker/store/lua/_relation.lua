-- Put before scripts that write relations: the open work of a relation, and what is remembered of it.

local function call_in_chunks(command, key, arguments) -- as many at once as Lua's stack takes
  for i = 1, #arguments, 4000 do redis.call(command, key, unpack(arguments, i, math.min(i + 3999, #arguments))) end
end

-- opens: {relation, blob ('': closed), due, guard, in doubt until µs}…
local function write_open_relations(base, now, opens)
  local closed, blobs, dues = {}, {}, {}
  for _, open in ipairs(opens) do
    local relation, blob, due, guard, in_doubt_until = unpack(open)
    if blob == '' then closed[#closed + 1] = relation
    else
      blobs[#blobs + 1] = relation
      blobs[#blobs + 1] = blob
      dues[#dues + 1] = due
      dues[#dues + 1] = relation
    end
    if guard then
      if blob ~= '' or in_doubt_until > now then redis.call('ZADD', base .. ':guard', 0, guard .. '|f|' .. relation)
      else redis.call('ZREM', base .. ':guard', guard .. '|f|' .. relation, guard .. '|h|' .. relation) end
    end
  end
  call_in_chunks('HDEL', base .. ':open', closed)
  call_in_chunks('ZREM', base .. ':due', closed)
  call_in_chunks('HSET', base .. ':open', blobs)
  call_in_chunks('ZADD', base .. ':due', dues)
end

local function write_relation(base, relation, fields, keep)
  local key = base .. ':rel:' .. relation
  call_in_chunks('HSET', key, fields)
  redis.call('PEXPIRE', key, keep)
  if redis.call('HLEN', key) > MAX_HISTORY + HISTORY_SLACK then
    local jobs = {}
    for _, field in ipairs(redis.call('HKEYS', key)) do
      if string.sub(field, 1, 1) == '#' then jobs[#jobs + 1] = field end
    end
    table.sort(jobs) -- job ids sort by time
    for i = #jobs - MAX_HISTORY + 1, #jobs do jobs[i] = nil end -- the latest stay
    call_in_chunks('HDEL', key, jobs)
  end
end
