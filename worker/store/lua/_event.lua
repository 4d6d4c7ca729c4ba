-- Put before accept: the jobs that have the event ids of submissions already.
local KEYS_PER_COMMAND = 1000 -- a call costs more than what it does

local function known_events(base, submissions) -- digest → "<job> <fingerprint>"
  local known = {}
  for first = 1, #submissions, KEYS_PER_COMMAND do
    local events = {}
    for i = first, math.min(first + KEYS_PER_COMMAND - 1, #submissions) do events[#events + 1] = base .. ':event:' .. submissions[i][2] end
    for i, value in ipairs(redis.call('MGET', unpack(events))) do known[submissions[first + i - 1][2]] = value or nil end
  end
  for _, s in ipairs(submissions) do
    if s[8] ~= '' and not known[s[2]] then -- release 0.1.0 had the ids of webhooks among those of producers
      local older = redis.call('GET', base .. ':event:' .. s[8])
      known[s[2]] = older and string.match(older, '^%S+ $') -- without a fingerprint: a webhook wrote it
    end
  end
  return known
end
