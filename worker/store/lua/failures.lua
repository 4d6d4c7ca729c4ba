#!lua flags=allow-oom
-- failures(base; ) → {group, jobs, first job's end µs, last job's end µs, last job}…, of what waits for a decision
-- Invariant: groups of which nothing is kept are gone from the list; the oldest forgotten jobs of each are dropped, bounded.
local base, found = KEYS[1], {}
local EXAMINED = 1000
for _, group in ipairs(redis.call('SMEMBERS', base .. ':failures')) do
  local key = base .. ':failed:' .. group
  local function ended(rank) -- the job there that is still kept, and its end
    for _ = 1, EXAMINED do
      local job = redis.call('ZRANGE', key, rank, rank)[1]
      if not job then return nil end
      local at = redis.call('HGET', base .. ':job:' .. job, 'f')
      if at then return job, at end
      redis.call('ZREM', key, job)
    end
  end
  local _, first = ended(0)
  local last, at = ended(-1)
  if last then found[#found + 1] = {group, redis.call('ZCARD', key), first, at, last}
  elseif redis.call('EXISTS', key) == 0 then redis.call('SREM', base .. ':failures', group) end
end
return found
