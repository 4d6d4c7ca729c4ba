#!lua flags=no-writes,allow-oom
-- read(meta, key…; {command, key, n, argument × n}…) → {answer…}
-- A key is named by its place in KEYS. For clusters, whose clients route one call to where its keys are now.
-- Invariant: nothing changes; all answers are of the same moment.
local AT_ONCE = 4000 -- arguments: the stack of Lua takes about twice as many
local function call(command, key, first, last)
  if last - first < AT_ONCE then return redis.call(command, key, unpack(ARGV, first, last)) end
  local answers = {} -- of a command that answers one by one: HMGET, ZMSCORE
  for from = first, last, AT_ONCE do
    local piece = redis.call(command, key, unpack(ARGV, from, math.min(from + AT_ONCE - 1, last)))
    for _, answer in ipairs(piece) do answers[#answers + 1] = answer end
  end
  return answers
end

local answers, at = {}, 1
while ARGV[at] do
  local last = at + 2 + tonumber(ARGV[at + 2])
  answers[#answers + 1] = call(ARGV[at], KEYS[tonumber(ARGV[at + 1])], at + 3, last)
  at = last + 1
end
return answers
