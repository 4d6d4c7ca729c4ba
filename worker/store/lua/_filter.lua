-- Put before find_jobs: whether a job matches a filter (worker.ports.JobFilter).

local FIELDS = {'s', 't', 'p', 'c', 'u', 'b', 'n', 'x', 'f'}

local function has_id(list, id) return string.find(',' .. list .. ',', ',' .. string.format('%.0f', id) .. ',', 1, true) end
local function matches_error(wanted, refusal)
  local known = refusal and cjson.decode(refusal) or {0, 'other'}
  return string.format('%.0f', known[1]) == wanted.error or known[2] == wanted.error
end
local function matches(wanted, job) -- job: the values of its FIELDS
  local state, type, parents, children, source, batch, at, refusal, ended = unpack(job)
  return state and (wanted.state == '' or state == wanted.state) and (wanted.type == '' or type == wanted.type)
    and (wanted.parent == 0 or has_id(parents, wanted.parent)) and (wanted.child == 0 or has_id(children, wanted.child))
    and (wanted.source == '' or source == wanted.source) and (wanted.batch == '' or batch == wanted.batch)
    and (wanted.since == 0 or tonumber(at) >= wanted.since) and (wanted['until'] == 0 or tonumber(at) < wanted['until'])
    and (wanted.failed_since == 0 or tonumber(ended or 0) >= wanted.failed_since)
    and (wanted.failed_until == 0 or tonumber(ended or 0) < wanted.failed_until)
    and (wanted.error == '' or state == 'failed' and matches_error(wanted, refusal))
end
