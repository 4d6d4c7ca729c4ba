#!lua
-- accept(meta, queue, counts, wake, events:0, events:1, events:kept, buckets, look_ups,
--   {jobs, order} per bucket, batch…, holder, never;
--   now, max_backlog, oldest µs, period of events µs, layout, buckets, submissions, max_backlog_bytes,
--   bucket…, {id, digest, fingerprint ('' ignores content), occurred_at µs (0: now),
--    bucket's place (< 0: to be looked up), batch's place (0: none), job}…)
--   → {'ok', wake, {position, id}…} | {'refused', {position, reason, id}…, now}
--   | {'full', 'changes' or 'bytes'} | {'layout', found}
-- Invariant: all or nothing; a repeated call writes nothing and answers the same; a job is in one of the
--   lists exactly when it is new.
local now, period, buckets, count = ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[6]), tonumber(ARGV[7])
local time = redis.call('TIME')
now = tonumber(now) or tonumber(time[1]) * 1000000 + tonumber(time[2])
local WIDTH, AT_ONCE = 7, 1000 -- arguments of a submission; things one command is about
local first, HEAD = 9 + buckets, 16 -- bytes before the value of a job
local meta = redis.call('HMGET', KEYS[1], 'layout', 'dead', 'events', 'events_since', 'bytes', 'latest')
if meta[1] ~= ARGV[5] then return {'layout', meta[1] or ''} end
-- Never before what came before it: a clock that was set back must not let newer changes lose (R6).
local present, latest = tonumber(meta[3] or 0), tonumber(meta[6] or 0)
local accepted_at = latest <= now + CLOCK_SET_BACK_US and math.max(now, latest) or now

local seen = {}
for from = 0, count - 1, AT_ONCE do
  local digests = {}
  for i = from, math.min(from + AT_ONCE, count) - 1 do digests[#digests + 1] = ARGV[first + WIDTH * i + 1] end
  for generation = 5, 7 do
    for i, known in ipairs(redis.call('HMGET', KEYS[generation], unpack(digests))) do
      if known then seen[digests[i]] = known end
    end
  end
end

local oldest, fresh, duplicates, refusals = now - tonumber(ARGV[3]), {}, {}, {}
for i = 0, count - 1 do
  local at = first + WIDTH * i
  local id, digest, fingerprint, occurred = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local known = seen[digest]
  if known then
    local job, content = string.match(known, '^(%S+) (.*)$')
    if fingerprint ~= '' and content ~= fingerprint then refusals[#refusals + 1] = {i, 'conflict', job}
    elseif job ~= id then duplicates[#duplicates + 1] = {i, job} end
  elseif occurred > accepted_at + CLOCK_AHEAD_US then refusals[#refusals + 1] = {i, 'ahead', ''}
  elseif occurred > 0 and occurred < oldest then refusals[#refusals + 1] = {i, 'too_old', ''}
  else
    fresh[#fresh + 1] = at
    seen[digest] = id .. ' ' .. fingerprint
  end
end
if #refusals > 0 then return {'refused', refusals, string.format('%.0f', now)} end
if #fresh == 0 then return {'ok', 0, duplicates} end
local waiting, bytes = redis.call('LLEN', KEYS[2]) + redis.call('LLEN', KEYS[9]) - tonumber(meta[2] or 0), 0
if waiting + #fresh > tonumber(ARGV[2]) then return {'full', 'changes'} end
if waiting > 0 then bytes = math.max(0, tonumber(meta[5] or 0)) end
for _, at in ipairs(fresh) do bytes = bytes + HEAD + #ARGV[at + 6] end
if bytes > tonumber(ARGV[8]) then return {'full', 'bytes'} end
redis.call('HSET', KEYS[1], 'bytes', bytes, 'latest', string.format('%.0f', accepted_at))
local function is_any_open_before(since) -- a job of a bucket that began by then: its key may be an older one
  local buckets = redis.call('HGETALL', KEYS[8])
  for i = 1, #buckets, 2 do
    local bucket, open = tonumber(buckets[i]), tonumber(buckets[i + 1])
    if open > 0 and bucket <= math.floor(since / 1000 / BUCKET_MS) then return true end
  end
end
-- The older generation goes when it has outlived what its keys stand for, and those of an earlier promise.
local function is_outlived(since)
  if now - since <= period then return false end
  local promised = tonumber(redis.call('HGET', KEYS[1], 'finished_s') or 0)
  return now - since > promised * 1000000 and not is_any_open_before(since)
end
if not meta[4] or is_outlived(tonumber(meta[4])) then
  present = meta[4] and 1 - present or 0
  redis.call('DEL', KEYS[5 + present])
  redis.call('HSET', KEYS[1], 'events', present, 'events_since', string.format('%.0f', now))
end
local number = redis.call('HINCRBY', KEYS[3], 'accepted', #fresh) - #fresh
local ids, look_ups, events, jobs, order, opened, labels = {}, {}, {}, {}, {}, {}, {}
for i = 1, buckets do jobs[i], order[i], opened[i] = {}, {}, 0 end
local function write(last)
  if #events == 0 or (#events < 2 * AT_ONCE and not last) then return end
  if #ids > 0 then redis.call('RPUSH', KEYS[2], unpack(ids)) end
  if #look_ups > 0 then redis.call('RPUSH', KEYS[9], unpack(look_ups)) end
  redis.call('HSET', KEYS[5 + present], unpack(events))
  for bucket = 1, buckets do
    if #order[bucket] > 0 then
      redis.call('HSET', KEYS[8 + 2 * bucket], unpack(jobs[bucket]))
      redis.call('RPUSH', KEYS[9 + 2 * bucket], unpack(order[bucket]))
      jobs[bucket], order[bucket] = {}, {}
    end
  end
  ids, look_ups, events = {}, {}, {}
end
for i, at in ipairs(fresh) do
  local id, bucket, label = ARGV[at], tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local list, n = bucket < 0 and look_ups or ids, #events
  bucket = math.abs(bucket)
  list[#list + 1] = id
  events[n + 1], events[n + 2] = ARGV[at + 1], seen[ARGV[at + 1]]
  order[bucket][#order[bucket] + 1] = id
  jobs[bucket][#jobs[bucket] + 1] = id
  jobs[bucket][#jobs[bucket] + 1] = struct.pack('>I8I8', accepted_at, number + i) .. ARGV[at + 6]
  opened[bucket] = opened[bucket] + 1
  if label > 0 then labels[label] = (labels[label] or 0) + 1 end
  write(i == #fresh)
end
for bucket = 1, buckets do
  local new = opened[bucket]
  if new > 0 and redis.call('HINCRBY', KEYS[8], ARGV[8 + bucket], new) == new then
    for key = 8 + 2 * bucket, 9 + 2 * bucket do redis.call('PERSIST', KEYS[key]) end
  end
end
for label, accepted in pairs(labels) do
  redis.call('HINCRBY', KEYS[9 + 2 * buckets + label], 'accepted', accepted)
  redis.call('PERSIST', KEYS[9 + 2 * buckets + label])
end
local mark = redis.call('HMGET', KEYS[4], 'at', 'idle') -- an idle one is about what was there before
if mark[1] and not mark[2] then return {'ok', 0, duplicates} end
redis.call('DEL', KEYS[4])
redis.call('HSET', KEYS[4], 'at', string.format('%.0f', now), 'delay', FIRST_WAKE_DELAY_US)
return {'ok', redis.call('HGET', KEYS[#KEYS - 1], 'wakes') and 0 or 1, duplicates} -- its holder does later
