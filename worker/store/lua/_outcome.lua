-- Put before take and settle: open relations, relation memories and job outcomes, written together.
-- keep = {finished job, failed job, relation}, lifetimes in ms.

local RESULTS = {'ok', 'su', 'st', 'fa'}
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

local function finish(base, now, job, got, sums, keep)
  local state = sums[4] > 0 and 'failed' or sums[1] > 0 and 'succeeded' or 'superseded'
  local lifetime = state == 'failed' and keep[2] or keep[1]
  redis.call('PEXPIRE', base .. ':job:' .. job, lifetime)
  redis.call('PEXPIRE', base .. ':event:' .. got[2], lifetime)
  redis.call('HINCRBY', base .. ':counts', state, 1)
  if state == 'failed' then redis.call('ZADD', base .. ':failed', us(now), job) end
  if got[3] then redis.call('HINCRBY', base .. ':batch:' .. got[3], state, 1) end
  return state
end

-- entry = {job, {applied, superseded, stale, failed}, request, state, by, refusal, failed relations}
local function set_job(base, now, entry, keep)
  local job, counts = entry[1], entry[2]
  local key = base .. ':job:' .. job
  local got = redis.call('HMGET', key, 'r', 'k', 'b', 'ok', 'su', 'st', 'fa', 'w', 'fr', 'm')
  if not got[1] then return end -- erased meanwhile
  local fields, sums, left = {}, {}, tonumber(got[1])
  for i, name in ipairs(RESULTS) do
    sums[i] = tonumber(got[3 + i] or 0) + counts[i]
    left = left - counts[i]
    if counts[i] > 0 then fields[#fields + 1] = name; fields[#fields + 1] = sums[i] end
  end
  local function put(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  put('r', left)
  if entry[3] ~= '' then
    put('m', tonumber(got[10] or 0) + 1)
    if not string.find(got[8] or '', entry[3], 1, true) then put('w', string.sub((got[8] and got[8] .. ' ' or '') .. entry[3], -120)) end
  end
  if entry[5] ~= '' then put('y', entry[5]) end
  if entry[6] ~= '' then put('x', entry[6]) end
  if entry[7] ~= '' then put('fr', (got[9] and got[9] .. ' ' or '') .. entry[7]) end
  if left == 0 then
    put('s', finish(base, now, job, got, sums, keep))
    put('f', us(now))
  elseif entry[4] ~= '' then
    put('s', entry[4])
  end
  redis.call('HSET', key, unpack(fields))
end

local function write(base, now, writes, keep)
  for _, open in ipairs(writes.opens) do set_open(base, open) end
  for _, relation in ipairs(writes.relations) do set_relation(base, relation[1], relation[2], keep[3]) end
  for _, entry in ipairs(writes.jobs) do set_job(base, now, entry, keep) end
  for name, by in pairs(writes.counts) do redis.call('HINCRBY', base .. ':counts', name, by) end
end
