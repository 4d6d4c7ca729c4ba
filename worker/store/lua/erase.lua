#!lua flags=allow-oom
-- erase(base; now, token, record id, sides, keep, after, most) → 'lost' | {after or '0', jobs changed, of these emptied}
-- sides: msgpack of type → p, c or pc, where the record can stand
-- Invariant: jobs numbered above `after` name the record no more, also not by what their producer called them; one that was about
-- nothing else keeps its state, counts and times only.
-- What they still had to do with it ends superseded, all else stays as it was. The same call again finds nothing.
local base, now, id, sides = KEYS[1], clock(ARGV[1]), ARGV[3], cmsgpack.unpack(ARGV[4])
local keep, totals, touched, stones, relations = cmsgpack.unpack(ARGV[5]), {}, 0, 0, 0
if redis.call('HGET', base .. ':lease', 'token') ~= ARGV[2] then return 'lost' end
local is, relation, guard = naming(sides, id)

local function erase_job(job, key, parents, children, lost)
  local gone = parents == '' or children == ''
  local state, again, guards, failed, refusal, left = unpack(redis.call('HMGET', key, 's', 'ag', 'g', 'fr', 'x', 'r'))
  if state == 'queued' then
    if again then lost = select(2, without(again, ' ', relation)) end
    if tonumber(left) == lost then withdraw(base, now, job, 'erased', keep, totals)
    elseif lost > 0 then
      leave_guards(base, (without(guards, ' ', function(piece) return not guard(piece) end)))
      redis.call('HINCRBY', key, 'su', lost)
      redis.call('HSET', key, 'r', tonumber(left) - lost, 'y', 'erased')
      totals.relations_superseded = (totals.relations_superseded or 0) + lost
    end
  end
  failed = (without(failed, ' ', relation))
  if state == 'failed' and failed == '' then drop_failure(base, job) end
  put(key, 'fr', failed)
  put(key, 'g', (without(guards, ' ', guard)))
  if redis.call('HEXISTS', key, 'ag') == 1 then put(key, 'ag', (without(again, ' ', relation))) end
  drop_words(key, refusal)
  redis.call('HSET', key, 'p', gone and '' or parents, 'c', gone and '' or children)
  redis.call('HDEL', key, 'e')
  if gone then
    redis.call('HSET', key, 'y', 'erased')
    redis.call('HDEL', key, 'i', 'ag', 'fr', 'g')
    stones = stones + 1
  end
  touched = touched + 1
end

local entries = redis.call('ZRANGEBYSCORE', base .. ':jobs', '(' .. ARGV[6], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[7])
for i = 1, #entries, 2 do
  local key = base .. ':job:' .. entries[i]
  local type, parents, children, source, batch, correlation = unpack(redis.call('HMGET', key, 't', 'p', 'c', 'u', 'b', 'ci'))
  drop_labels(key, id, {u = source, b = batch, ci = correlation})
  if type and sides[type] then
    local left = stands_on(sides, type, 'p') and without(parents, ',', is) or parents
    local right = stands_on(sides, type, 'c') and without(children, ',', is) or children
    local lost = ids_in(parents) * ids_in(children) - ids_in(left) * ids_in(right)
    if lost > 0 then erase_job(entries[i], key, left, right, lost) end
    relations = relations + lost
  end
  if relations >= 5000 then -- enough at once; who asks goes on after this one
    entries = {entries[i], entries[i + 1], more = true}
    break
  end
end
for name, by in pairs(totals) do redis.call('HINCRBY', base .. ':counts', name, by) end
return {(entries.more or #entries == 2 * tonumber(ARGV[7])) and entries[#entries] or '0', touched, stones}
