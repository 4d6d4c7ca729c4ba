-- Put before claim and settle: write the outcomes of jobs.
-- keep = {finished job, failed job, relation}, lifetimes in ms

local RESULTS = {'ok', 'su', 'st', 'fa'}
local OPEN = {sending = true, retrying = true, verifying = true, held = true} -- queued jobs are counted by the inbox

local function move_state_count(totals, from, to) -- open states are counted as they are, ended ones as they come
  if from == to then return end
  for state, by in pairs({[from] = -1, [to] = 1}) do
    if OPEN[state] then totals[state] = (totals[state] or 0) + by end
  end
end

-- The ends and changes of state are added to totals, which are written once for all jobs.
-- entry = {job, {applied, superseded, stale, failed}, request, state, by, refusal, failed relations}
local function update_job(base, now, entry, keep, totals)
  local job, counts, request = entry[1], entry[2], entry[3]
  local key = base .. ':job:' .. job
  local got = redis.call('HMGET', key, 'r', 'k', 'b', 'ok', 'su', 'st', 'fa', 'w', 'fr', 'm', 'x', 's')
  if not got[1] or got[1] == '0' then return end -- erased or ended meanwhile
  local fields, sums, left = {}, {}, tonumber(got[1])
  local function put(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  for i, name in ipairs(RESULTS) do
    sums[i] = tonumber(got[3 + i] or 0) + counts[i]
    left = left - counts[i]
    if counts[i] > 0 then put(name, sums[i]) end
  end
  put('r', left)
  if request ~= '' and not string.find(' ' .. (got[8] or '') .. ' ', ' ' .. request .. ' ', 1, true) then
    local ids = (got[8] and got[8] .. ' ' or '') .. request
    local cut = #ids > REQUEST_IDS_LENGTH and string.gsub(string.sub(ids, -REQUEST_IDS_LENGTH - 1), '^%S* ', '', 1)
    put('w', cut or ids) -- whole ids only
    if entry[4] ~= 'queued' then put('m', tonumber(got[10] or 0) + 1) end -- a dry run of a queued job is no attempt
  end
  if entry[5] ~= '' then put('y', entry[5]) end
  if entry[6] ~= '' and not got[11] then put('x', entry[6]) end
  if entry[7] ~= '' then put('fr', (got[9] and got[9] .. ' ' or '') .. entry[7]) end
  local state = left == 0 and finish_job(base, job, got, sums, got[11] or entry[6], keep, totals) or entry[4]
  if left == 0 then put('f', as_text(now)) end
  if state ~= '' then
    put('s', state)
    move_state_count(totals, got[12], state)
  end
  redis.call('HSET', key, unpack(fields))
end
