-- Put before take and settle: the outcomes of jobs.
-- keep = {finished job, failed job, relation}, lifetimes in ms.

local RESULTS = {'ok', 'su', 'st', 'fa'}

local function end_batch(key, state, keep)
  redis.call('HINCRBY', key, state, 1)
  local accepted, ended = nil, 0
  for i, count in ipairs(redis.call('HMGET', key, 'accepted', 'succeeded', 'superseded', 'failed')) do
    if i == 1 then accepted = tonumber(count or 0) else ended = ended + tonumber(count or 0) end
  end
  if ended >= accepted then redis.call('PEXPIRE', key, keep[2]) end
end

local function finish(base, now, job, got, sums, keep, totals)
  local state = sums[4] > 0 and 'failed' or sums[1] > 0 and 'succeeded' or 'superseded'
  local lifetime = state == 'failed' and keep[2] or keep[1]
  redis.call('PEXPIRE', base .. ':job:' .. job, lifetime)
  redis.call('PEXPIRE', base .. ':event:' .. got[2], lifetime)
  totals[state] = (totals[state] or 0) + 1
  if state == 'failed' then
    redis.call('ZREMRANGEBYSCORE', base .. ':failed', '-inf', us(now - 1000 * keep[2]))
    redis.call('ZADD', base .. ':failed', us(now), job)
  end
  if got[3] then end_batch(base .. ':batch:' .. got[3], state, keep) end
  return state
end

-- Ends are added to totals, which are written once for all jobs.
-- entry = {job, {applied, superseded, stale, failed}, request, state, by, refusal, failed relations}
local function set_job(base, now, entry, keep, totals)
  local job, counts, request = entry[1], entry[2], entry[3]
  local key = base .. ':job:' .. job
  local got = redis.call('HMGET', key, 'r', 'k', 'b', 'ok', 'su', 'st', 'fa', 'w', 'fr', 'm', 'x')
  if not got[1] or got[1] == '0' then return end -- erased or ended meanwhile
  local fields, sums, left = {}, {}, tonumber(got[1])
  local function put(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  for i, name in ipairs(RESULTS) do
    sums[i] = tonumber(got[3 + i] or 0) + counts[i]
    left = left - counts[i]
    if counts[i] > 0 then put(name, sums[i]) end
  end
  put('r', left)
  if request ~= '' and not string.find(' ' .. (got[8] or '') .. ' ', ' ' .. request .. ' ', 1, true) then
    local way = (got[8] and got[8] .. ' ' or '') .. request
    put('w', #way > 120 and string.gsub(string.sub(way, -121), '^%S* ', '', 1) or way) -- whole ids only
    put('m', tonumber(got[10] or 0) + 1)
  end
  if entry[5] ~= '' then put('y', entry[5]) end
  if entry[6] ~= '' and not got[11] then put('x', entry[6]) end
  if entry[7] ~= '' then put('fr', (got[9] and got[9] .. ' ' or '') .. entry[7]) end
  local state = left == 0 and finish(base, now, job, got, sums, keep, totals) or entry[4]
  if left == 0 then put('f', us(now)) end
  if state ~= '' then put('s', state) end
  redis.call('HSET', key, unpack(fields))
end
