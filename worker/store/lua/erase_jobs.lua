#!lua flags=allow-oom
-- erase_jobs(base; now, token, record id, sides, keep, after, most) → 'lost' | {after or '0', jobs changed, of these emptied}
-- sides: msgpack of type → p, c or pc, the sides the record can be on
-- Invariant: jobs numbered above `after` name the record no more, not even in what their producer called them; a job that was about
-- nothing else keeps only its state, counts and times. What was left to do about the record ends superseded, all else stays as it was.
-- A repeated call finds nothing.
local base, now, id, sides = KEYS[1], read_clock(ARGV[1]), ARGV[3], cmsgpack.unpack(ARGV[4])
local keep, totals, changed, emptied, relations = cmsgpack.unpack(ARGV[5]), {}, 0, 0, 0
if redis.call('HGET', base .. ':lease', 'token') ~= ARGV[2] then return 'lost' end
local is_id, is_relation = matchers(sides, id)

local function erase_job(job, key, parents, children, lost)
  local is_empty = parents == '' or children == ''
  local state, again, failed, refusal, left = unpack(redis.call('HMGET', key, 's', 'ag', 'fr', 'x', 'r'))
  if state == 'queued' then
    if again then lost = select(2, without(again, ' ', is_relation)) end
    if tonumber(left) == lost then cancel_job(base, now, job, 'erased', keep, totals)
    elseif lost > 0 then
      redis.call('HINCRBY', key, 'su', lost)
      redis.call('HSET', key, 'r', tonumber(left) - lost, 'y', 'erased')
      totals.relations_superseded = (totals.relations_superseded or 0) + lost
    end
  end
  failed = (without(failed, ' ', is_relation))
  if state == 'failed' and failed == '' then drop_failure(base, job) end
  set_or_delete(key, 'fr', failed)
  if redis.call('HEXISTS', key, 'ag') == 1 then set_or_delete(key, 'ag', (without(again, ' ', is_relation))) end
  drop_messages(key, refusal)
  redis.call('HSET', key, 'p', is_empty and '' or parents, 'c', is_empty and '' or children)
  redis.call('HDEL', key, 'e', 'g') -- g: which records an earlier release noted
  if is_empty then
    redis.call('HSET', key, 'y', 'erased')
    redis.call('HDEL', key, 'i', 'ag', 'fr')
    emptied = emptied + 1
  end
  changed = changed + 1
end

local entries = redis.call('ZRANGEBYSCORE', base .. ':jobs', '(' .. ARGV[6], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[7])
for i = 1, #entries, 2 do
  local key = base .. ':job:' .. entries[i]
  local type, parents, children, source, batch, correlation = unpack(redis.call('HMGET', key, 't', 'p', 'c', 'u', 'b', 'ci'))
  drop_labels(key, id, {u = source, b = batch, ci = correlation})
  if type and sides[type] then
    local left = is_on(sides, type, 'p') and without(parents, ',', is_id) or parents
    local right = is_on(sides, type, 'c') and without(children, ',', is_id) or children
    local lost = count_ids(parents) * count_ids(children) - count_ids(left) * count_ids(right)
    if lost > 0 then erase_job(entries[i], key, left, right, lost) end
    relations = relations + lost
  end
  if relations >= RELATIONS_PER_CALL then -- the caller continues after this job
    entries = {entries[i], entries[i + 1], more = true}
    break
  end
end
for name, by in pairs(totals) do redis.call('HINCRBY', base .. ':counts', name, by) end
return {(entries.more or #entries == 2 * tonumber(ARGV[7])) and entries[#entries] or '0', changed, emptied}
