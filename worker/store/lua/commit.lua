#!lua flags=allow-oom
-- commit(meta, key…, never; id, checks, {key, field, value}…, {command, key, n, argument × n}…)
--   → {0} | {number of the check, found}
-- A key is named by its place in KEYS.
-- Two commands are our own: OPEN (buckets; bucket, jobs, order, count, lifetime ms)
--   counts the open jobs of a bucket, which has a lifetime while it has none;
--   KEEP (key; lifetime ms) lets a key live at least so long, whatever was promised before.
-- Invariant: everything is written or nothing, and only while each checked field of a hash has its value
--   ('': it is not there, '*': it is), or the hash as many fields as are checked (field #).
-- A repeated call (the last commit has its id) writes nothing and answers the same.
if redis.call('HGET', KEYS[1], 'last') == ARGV[1] then return {0, ''} end
local at = 3
for check = 1, tonumber(ARGV[2]) do
  local key, field, wanted = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
  local found = field == '#' and tostring(redis.call('HLEN', key))
    or wanted == '*' and (redis.call('HSTRLEN', key, field) > 0 and '*' or '')
    or redis.call('HGET', key, field) or ''
  if found ~= wanted then return {check, found} end
  at = at + 3
end

local function count_open(buckets, bucket, jobs, order, count, lifetime)
  local open = redis.call('HINCRBY', buckets, bucket, count)
  for _, key in ipairs({KEYS[tonumber(jobs)], KEYS[tonumber(order)]}) do
    if open > 0 then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, lifetime) end
  end
end

local function keep(key, lifetime)
  if redis.call('PTTL', key) < tonumber(lifetime) then redis.call('PEXPIRE', key, lifetime) end
end

while ARGV[at] do
  local command, key, count = ARGV[at], KEYS[tonumber(ARGV[at + 1])], tonumber(ARGV[at + 2])
  local last = at + 2 + count
  if command == 'OPEN' then count_open(key, unpack(ARGV, at + 3, last))
  elseif command == 'KEEP' then keep(key, ARGV[last])
  else redis.call(command, key, unpack(ARGV, at + 3, last)) end
  at = last + 1
end
redis.call('HSET', KEYS[1], 'last', ARGV[1])
return {0, ''}
