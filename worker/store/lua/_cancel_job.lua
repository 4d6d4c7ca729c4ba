-- Put before cancel and erase_jobs: a job ends in the inbox, what is left of it superseded.
-- keep = {finished job, failed job, relation}, lifetimes in ms; by: the reason, cancelled or erased

local function list_relations(type, parents, children, remaining)
  local found = {}
  if remaining then
    for relation in string.gmatch(remaining, '%S+') do found[#found + 1] = relation end
    return found
  end
  for parent in string.gmatch(parents, '%d+') do
    for child in string.gmatch(children, '%d+') do found[#found + 1] = type .. ':' .. parent .. ':' .. child end
  end
  return found
end

local function cancel_job(base, now, job, by, keep, totals) -- returns how many relations ended
  local key = base .. ':job:' .. job
  local got = redis.call('HMGET', key, 'r', 'k', 'b', 'ok', 'su', 'st', 't', 'p', 'c', 'ag')
  local left = tonumber(got[1])
  local sums = {tonumber(got[4] or 0), tonumber(got[5] or 0) + left, tonumber(got[6] or 0), 0}
  for _, relation in ipairs(list_relations(got[7], got[8], got[9], got[10])) do
    write_relation(base, relation, {'#' .. job, 'superseded ' .. by}, keep[3])
  end
  local state = finish_job(base, job, got, sums, '', keep, totals)
  redis.call('HSET', key, 's', state, 'su', sums[2], 'r', 0, 'y', by, 'f', as_text(now))
  redis.call('HDEL', key, 'ag')
  redis.call('INCR', base .. ':dead')
  totals.relations_superseded = (totals.relations_superseded or 0) + left
  return left
end
