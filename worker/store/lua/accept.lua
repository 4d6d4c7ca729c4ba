#!lua
-- accept(base; now, max_backlog, oldest, submissions) → {'ok', wake, duplicates} | {'refused', refusals} | {'full'}
-- submissions: msgpack of {job, event digest, fingerprint ('' ignores content), occurred_at (0: now), relations, batch, fields}
-- duplicates: {position, job}…; refusals: {position, reason, job}…
-- Invariant: all or nothing; a repeated call writes nothing and answers the same; a job is in the inbox exactly when it is new.
local base, now, oldest = KEYS[1], read_clock(ARGV[1]), tonumber(ARGV[3])
local submissions = cmsgpack.unpack(ARGV[4])
local KEYS_PER_COMMAND = 1000
local seen, fresh, duplicates, refusals = {}, {}, {}, {}

-- One command for many keys: a call costs more than what it does.
for first = 1, #submissions, KEYS_PER_COMMAND do
  local events = {}
  for i = first, math.min(first + KEYS_PER_COMMAND - 1, #submissions) do events[#events + 1] = base .. ':event:' .. submissions[i][2] end
  for i, known in ipairs(redis.call('MGET', unpack(events))) do seen[submissions[first + i - 1][2]] = known or nil end
end

for i, s in ipairs(submissions) do
  local known = seen[s[2]]
  if known then
    local job, fingerprint = string.match(known, '^(%S+) (.*)$')
    if s[3] ~= '' and fingerprint ~= s[3] then refusals[#refusals + 1] = {i - 1, 'conflict', job}
    elseif job ~= s[1] then duplicates[#duplicates + 1] = {i - 1, job} end
  elseif s[4] > now + CLOCK_AHEAD_US then refusals[#refusals + 1] = {i - 1, 'ahead', ''}
  elseif s[4] > 0 and s[4] < now - oldest then refusals[#refusals + 1] = {i - 1, 'too_old', ''}
  else
    fresh[#fresh + 1] = s
    seen[s[2]] = s[1] .. ' ' .. s[3]
  end
end
if #refusals > 0 then return {'refused', refusals} end
if #fresh == 0 then return {'ok', 0, duplicates} end
if count_waiting(base) + #fresh > tonumber(ARGV[2]) then return {'full'} end

local number, text = redis.call('HINCRBY', base .. ':counts', 'accepted', #fresh) - #fresh, as_text(now)
local ids, scores, events, labels = {}, {}, {}, {}
for i, s in ipairs(fresh) do
  local job, event, occurred = s[1], s[2], (s[4] > 0 and s[4] < now) and as_text(s[4]) or text
  redis.call('HSET', base .. ':job:' .. job, 's', 'queued', 'n', text, 'o', occurred, 'q', number + i, 'r', s[5], 'z', s[5], unpack(s[7]))
  if s[6] ~= '' then labels[s[6]] = (labels[s[6]] or 0) + 1 end
  local n = #ids
  ids[n + 1] = job
  scores[2 * n + 1], scores[2 * n + 2] = number + i, job
  events[2 * n + 1], events[2 * n + 2] = base .. ':event:' .. event, seen[event]
  if n + 1 == KEYS_PER_COMMAND or i == #fresh then
    redis.call('RPUSH', base .. ':inbox', unpack(ids))
    redis.call('ZADD', base .. ':jobs', unpack(scores))
    redis.call('MSET', unpack(events))
    ids, scores, events = {}, {}, {}
  end
end
for label, count in pairs(labels) do
  redis.call('HINCRBY', base .. ':batch:' .. label, 'accepted', count)
  redis.call('PERSIST', base .. ':batch:' .. label)
end
if redis.call('EXISTS', base .. ':wake') == 1 then return {'ok', 0, duplicates} end
mark_woken(base, now, FIRST_WAKE_DELAY_US)
return {'ok', 1, duplicates}
