#!lua
-- accept(base; now, max_backlog, oldest, submissions) → {'ok', wake, duplicates} | {'refused', refusals} | {'full'}
-- submissions: msgpack of {job, event digest, fingerprint ('' ignores content), occurred_at (0: now), relations, batch, guards, fields}
-- duplicates: {position, job}…; refusals: {position, reason, job}…
-- Invariant: all or nothing; the same call again writes nothing and answers the same; a job is in the inbox exactly when it is new.
local base, now, oldest = KEYS[1], clock(ARGV[1]), tonumber(ARGV[3])
local submissions = cmsgpack.unpack(ARGV[4])
local AHEAD = 300 * 1000000
local seen, fresh, duplicates, refusals = {}, {}, {}, {}

for i, s in ipairs(submissions) do
  local known = seen[s[2]] or redis.call('GET', base .. ':event:' .. s[2])
  if known then
    local job, fingerprint = string.match(known, '^(%S+) (.*)$')
    if s[3] ~= '' and fingerprint ~= s[3] then refusals[#refusals + 1] = {i - 1, 'conflict', job}
    elseif job ~= s[1] then duplicates[#duplicates + 1] = {i - 1, job} end
  elseif s[4] > now + AHEAD then refusals[#refusals + 1] = {i - 1, 'ahead', ''}
  elseif s[4] > 0 and s[4] < now - oldest then refusals[#refusals + 1] = {i - 1, 'too_old', ''}
  else
    fresh[#fresh + 1] = s
    seen[s[2]] = s[1] .. ' ' .. s[3]
  end
end
if #refusals > 0 then return {'refused', refusals} end
if #fresh == 0 then return {'ok', 0, duplicates} end
if redis.call('LLEN', base .. ':inbox') + #fresh > tonumber(ARGV[2]) then return {'full'} end

local number = redis.call('HINCRBY', base .. ':counts', 'accepted', #fresh) - #fresh
local ids, scores, labels = {}, {}, {}
for i, s in ipairs(fresh) do
  local occurred = (s[4] > 0 and s[4] < now) and s[4] or now
  local fields = s[8]
  for _, value in ipairs({'s', 'queued', 'n', us(now), 'o', us(occurred), 'q', number + i, 'r', s[5], 'z', s[5], 'k', s[2]}) do
    fields[#fields + 1] = value
  end
  redis.call('HSET', base .. ':job:' .. s[1], unpack(fields))
  redis.call('SET', base .. ':event:' .. s[2], s[1] .. ' ' .. s[3])
  for _, guard in ipairs(s[7]) do redis.call('HINCRBY', base .. ':arriving', guard, 1) end
  if s[6] ~= '' then labels[s[6]] = (labels[s[6]] or 0) + 1 end
  ids[#ids + 1] = s[1]
  scores[#scores + 1] = number + i
  scores[#scores + 1] = s[1]
  if #ids == 1000 or i == #fresh then
    redis.call('RPUSH', base .. ':inbox', unpack(ids))
    redis.call('ZADD', base .. ':jobs', unpack(scores))
    ids, scores = {}, {}
  end
end
for label, count in pairs(labels) do
  redis.call('HINCRBY', base .. ':batch:' .. label, 'accepted', count)
  redis.call('PERSIST', base .. ':batch:' .. label)
end
if redis.call('EXISTS', base .. ':wake') == 1 then return {'ok', 0, duplicates} end
wake(base, now, 2000000)
return {'ok', 1, duplicates}
