#!lua flags=allow-oom
-- read(base; now, token, max_jobs, max_relations) → 'lost' | {now, begun, due, jobs, records, condemned}
-- begun: request id, journal entry…; jobs: {id, a, t, p, c, i, o, q, ag, n, ci, ae}…; records: {relation,
--   open, memory}… that exist
-- Invariant: nothing moves, but dead or lost entries of the inbox go. `work` notes the batch, so that one
--   that kills its worker comes
-- back in halves, and a single thing is condemned after DEADLY_LOSSES deaths (R21). A repeated call reads as
--   much.
local base, now, token = KEYS[1], read_clock(ARGV[1]), ARGV[2]
if redis.call('HGET', base .. ':lease', 'token') ~= token then return 'lost' end

local most, key = tonumber(ARGV[3]), base .. ':work'
local size, half, alone, losses, held = unpack(redis.call('HMGET', key, 'size', 'half', 'alone', 'losses', 'held'))
local lost, limit = held and held ~= token, most
if lost then limit = math.min(most, tonumber(half))
elseif held then limit = math.min(most, tonumber(size))
elseif size then limit = math.min(most, tonumber(size) * 2) end

local due = redis.call('ZRANGEBYSCORE', base .. ':due', '-inf', as_text(now), 'LIMIT', 0, limit)
local records, jobs, seen, relations = {}, {}, {}, #due
local function add_record(relation)
  if seen[relation] then return end
  seen[relation] = true
  local open = redis.call('HGET', base .. ':open', relation)
  local memory = redis.call('HGET', base .. ':rel:' .. relation, 'k')
  if open or memory then records[#records + 1] = {relation, open, memory} end
end
for _, relation in ipairs(due) do add_record(relation) end

drop_dead_jobs(base, 20000)
local want, at, full = limit - #due, 0, false
while #jobs < want and at < want + 10000 and not full do -- past the dead jobs in between, but a bounded number of them
  local ids = redis.call('LRANGE', base .. ':inbox', at, at + want - 1)
  if #ids == 0 then break end
  at = at + #ids
  for _, id in ipairs(ids) do
    local job = redis.call('HMGET', base .. ':job:' .. id, 's', 'z', 'a', 't', 'p', 'c', 'i', 'o', 'q', 'ag', 'n', 'ci', 'ae')
    if not job[1] then -- expired, or lost by the server: nothing is left to do
      drop_dead_count(base, redis.call('LREM', base .. ':inbox', 1, id))
    elseif job[1] == 'queued' then
      relations = relations + tonumber(job[2])
      full = #jobs == want or (relations > tonumber(ARGV[4]) and #jobs > 0)
      if full then break end
      jobs[#jobs + 1] = {id, unpack(job, 3, 13)}
      for parent in string.gmatch(job[5], '%d+') do
        for child in string.gmatch(job[6], '%d+') do add_record(job[4] .. ':' .. parent .. ':' .. child) end
      end
    end
  end
end

local count, head = #due + #jobs, due[1] or (jobs[1] and jobs[1][1])
half = count > 0 and math.max(1, math.floor(count / 2)) or limit
losses = (count == 1 and held and alone == head) and tonumber(losses) + (lost and 1 or 0) or 0
redis.call('HSET', key, 'size', limit, 'half', half, 'alone', count == 1 and head or '', 'losses', losses, 'held', token,
  'full', limit == most and 1 or 0)
return {as_text(now), redis.call('HGETALL', base .. ':journal'), due, jobs, records, losses >= DEADLY_LOSSES and 1 or 0}
