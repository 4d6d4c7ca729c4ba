#!lua flags=no-writes
-- find_jobs(base; filter, limit, cursor, examined) → {cursor of the next page or '', {job id, its hash}…}, newest first
-- filter: msgpack of worker.ports.JobFilter, with `first`, `last`: beginnings of job ids a while before `since`, after `until` ('': any)
-- Invariant: nothing changes; at most `examined` entries are looked at, of the index that has the fewest.
local base, wanted = KEYS[1], cmsgpack.unpack(ARGV[1])
local limit, cursor, examined = tonumber(ARGV[2]), ARGV[3] ~= '' and tonumber(ARGV[3]) or math.huge, tonumber(ARGV[4])
local function list_below(key, upto) -- up to `examined` members with their numbers, newest first
  return redis.call('ZRANGE', key, '(' .. (upto == math.huge and '+inf' or string.format('%.0f', upto)), '-inf', 'BYSCORE', 'REV',
    'LIMIT', 0, examined, 'WITHSCORES')
end
local function merge(keys) -- the newest of several indexes
  local entries, flat = {}, {}
  for _, key in ipairs(keys) do
    local found = list_below(key, cursor)
    for i = 1, #found, 2 do entries[#entries + 1] = {found[i], tonumber(found[i + 1])} end
  end
  table.sort(entries, function(a, b) return a[2] > b[2] end)
  for i = 1, math.min(examined, #entries) do
    flat[2 * i - 1], flat[2 * i] = entries[i][1], entries[i][2]
  end
  return flat
end
local function number_after(key, name) -- the number of the first job made after the name; job ids sort by time
  local low, high = 0, redis.call('ZCARD', key)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local id = redis.call('ZRANGE', key, middle, middle)[1]
    if string.sub(id, -18) < name then low = middle + 1 else high = middle end
  end
  local entry = redis.call('ZRANGE', key, low, low, 'WITHSCORES')
  return entry[2] and tonumber(entry[2]) or math.huge
end

local entries
if wanted.error ~= '' then
  local keys = {}
  for _, group in ipairs(redis.call('SMEMBERS', base .. ':failures')) do
    local code, class, type = string.match(group, '^(%S+) (%S+) (.*)$')
    if (code == wanted.error or class == wanted.error) and (wanted.type == '' or wanted.type == type) then
      keys[#keys + 1] = base .. ':failed:' .. group
    end
  end
  entries = merge(keys)
else
  local key = base .. ':' .. (wanted.state == 'failed' and 'failed' or 'jobs')
  entries = list_below(key, wanted.last ~= '' and math.min(cursor, number_after(key, wanted.last)) or cursor)
end

local found, last = {}, ''
for i = 1, #entries, 2 do
  local id, key = entries[i], base .. ':job:' .. entries[i]
  if wanted.first ~= '' and string.sub(id, -18) < wanted.first then return {'', found} end
  if matches(wanted, redis.call('HMGET', key, unpack(FIELDS))) then found[#found + 1] = {id, redis.call('HGETALL', key)} end
  last = string.format('%.0f', entries[i + 1])
  if #found == limit then break end
end
if #found < limit and #entries < 2 * examined then last = '' end
return {last, found}
