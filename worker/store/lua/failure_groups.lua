#!lua flags=allow-oom
-- failure_groups(base; ) → {group, jobs, first job's end µs, last job's end µs, last job}…, of failed jobs
--   that wait for a decision
-- Invariant: groups without a kept job leave the list; of each group a bounded number of expired jobs is
--   dropped.
local base, found = KEYS[1], {}
for _, group in ipairs(redis.call('SMEMBERS', base .. ':failures')) do
  local key = base .. ':failed:' .. group
  local function find_kept(rank) -- the first job from there that is still kept, and its end
    for _ = 1, MAX_EXAMINED do
      local job = redis.call('ZRANGE', key, rank, rank)[1]
      if not job then return nil end
      local at = redis.call('HGET', base .. ':job:' .. job, 'f')
      if at then return job, at end
      redis.call('ZREM', key, job)
    end
  end
  local _, first = find_kept(0)
  local last, at = find_kept(-1)
  if last then found[#found + 1] = {group, redis.call('ZCARD', key), first, at, last}
  elseif redis.call('EXISTS', key) == 0 then redis.call('SREM', base .. ':failures', group) end
end
return found
