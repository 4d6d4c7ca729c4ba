-- Put before scripts that end a job: its lifetime, its place among the failed jobs, its batch, the account's
--   totals.
-- keep = {finished job, failed job, relation, event id at least}, lifetimes in ms
-- got = {…, event digest, batch…} of the job; sums = {applied, superseded, stale, failed}

-- totals: of the account's counts; an outcome (`relations_…`) and the class of a failure (`failures:…`) are
--   also counted as they come, in numbers that never fall, whatever becomes of the job.
local function add_totals(base, totals)
  for name, by in pairs(totals) do
    local outcome = string.match(name, '^relations_(.+)')
    if outcome then redis.call('HINCRBY', base .. ':numbers', 'outcomes:' .. outcome, by) end
    local counts = string.find(name, '^failures:') and ':numbers' or ':counts'
    redis.call('HINCRBY', base .. counts, name, by)
  end
end

local function count_batch_end(key, state, keep)
  redis.call('HINCRBY', key, state, 1)
  local accepted, ended = nil, 0
  for i, count in ipairs(redis.call('HMGET', key, 'accepted', 'succeeded', 'superseded', 'failed')) do
    if i == 1 then accepted = tonumber(count or 0) else ended = ended + tonumber(count or 0) end
  end
  if ended >= accepted then redis.call('PEXPIRE', key, keep[2]) end
end

local function finish_job(base, job, got, sums, refusal, keep, totals)
  local state = sums[4] > 0 and 'failed' or sums[1] > 0 and 'succeeded' or 'superseded'
  local lifetime = state == 'failed' and keep[2] or keep[1]
  redis.call('PEXPIRE', base .. ':job:' .. job, lifetime)
  redis.call('PEXPIRE', base .. ':event:' .. got[2], math.max(lifetime, keep[4]))
  totals[state] = (totals[state] or 0) + 1
  if state == 'failed' then add_failure(base, job, refusal, keep[2]) end
  if got[3] then count_batch_end(base .. ':batch:' .. got[3], state, keep) end
  return state
end
