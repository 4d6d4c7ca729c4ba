-- Put before cancel and erase: a job that waits in the inbox ends there, what is left of it superseded.
-- keep = {finished job, failed job, relation}, lifetimes in ms; by says why: cancelled, erased

local function leave_guards(base, guards) -- what would have gone first is not to come any more (R12)
  for guard in string.gmatch(guards, '%S+') do
    if redis.call('HINCRBY', base .. ':arriving', guard, -1) <= 0 then redis.call('HDEL', base .. ':arriving', guard) end
  end
end

local function relations_of(type, parents, children, again)
  local found = {}
  if again then
    for relation in string.gmatch(again, '%S+') do found[#found + 1] = relation end
    return found
  end
  for parent in string.gmatch(parents, '%d+') do
    for child in string.gmatch(children, '%d+') do found[#found + 1] = type .. ':' .. parent .. ':' .. child end
  end
  return found
end

local function withdraw(base, now, job, by, keep, totals) -- how many relations ended
  local key = base .. ':job:' .. job
  local got = redis.call('HMGET', key, 'r', 'k', 'b', 'ok', 'su', 'st', 'g', 't', 'p', 'c', 'ag')
  local left = tonumber(got[1])
  local sums = {tonumber(got[4] or 0), tonumber(got[5] or 0) + left, tonumber(got[6] or 0), 0}
  leave_guards(base, got[7] or '')
  for _, relation in ipairs(relations_of(got[8], got[9], got[10], got[11])) do
    set_relation(base, relation, {'#' .. job, 'superseded ' .. by}, keep[3])
  end
  local state = finish(base, job, got, sums, '', keep, totals)
  redis.call('HSET', key, 's', state, 'su', sums[2], 'r', 0, 'y', by, 'f', us(now))
  redis.call('HDEL', key, 'ag')
  redis.call('INCR', base .. ':dead')
  totals.relations_superseded = (totals.relations_superseded or 0) + left
  return left
end
