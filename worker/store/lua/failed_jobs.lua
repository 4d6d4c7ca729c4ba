#!lua flags=allow-oom
-- failed_jobs(base; limit) → the failed jobs that wait for a decision, oldest first
-- Invariant: only jobs that are still kept are named; expired ones leave the index.
local base, limit, found = KEYS[1], tonumber(ARGV[1]), {}
while #found < limit do
  local ids = redis.call('ZRANGE', base .. ':failed', #found, limit - 1)
  if #ids == 0 then break end
  for _, id in ipairs(ids) do
    if redis.call('EXISTS', base .. ':job:' .. id) == 1 then found[#found + 1] = id
    else redis.call('ZREM', base .. ':failed', id) end
  end
end
return found
