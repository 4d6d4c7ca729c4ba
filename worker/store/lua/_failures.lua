-- Put before scripts that end a job or requeue it: the indexes of failed jobs that wait for a decision, all
--   of them and by group.

local function failure_group(refusal, type) -- "<code> <class> <type>", from the refusal as the job keeps it
  local known = refusal and refusal ~= '' and cjson.decode(refusal) or {0, 'other'}
  return string.format('%.0f %s %s', known[1], known[2], type or '')
end

local function drop_failure(base, job) -- it waits no longer: requeued, dismissed, erased, expired
  if redis.call('ZREM', base .. ':failed', job) == 0 then return end
  local got = redis.call('HMGET', base .. ':job:' .. job, 'x', 't')
  redis.call('ZREM', base .. ':failed:' .. failure_group(got[1], got[2]), job)
end

local function add_failure(base, job, refusal, keep) -- keep: ms a failed job lives
  local got = redis.call('HMGET', base .. ':job:' .. job, 't', 'q')
  local group = failure_group(refusal, got[1])
  redis.call('SADD', base .. ':failures', group)
  for _, key in ipairs({base .. ':failed', base .. ':failed:' .. group}) do
    for _, old in ipairs(redis.call('ZRANGE', key, 0, 9)) do -- expired ones, a few at a time
      if redis.call('EXISTS', base .. ':job:' .. old) == 1 then break end
      redis.call('ZREM', key, old)
    end
    redis.call('ZADD', key, got[2], job)
    redis.call('PEXPIRE', key, keep)
  end
  redis.call('PEXPIRE', base .. ':failures', keep)
end
