#!lua flags=no-writes,allow-oom
-- read(meta, key…; {command, key, n, argument × n}…) → {answer…}
-- A key is named by its place in KEYS. For clusters, whose clients route one call to where its keys are now.
-- Invariant: nothing changes; all answers are of the same moment.
local answers, at = {}, 1
while ARGV[at] do
  local last = at + 2 + tonumber(ARGV[at + 2])
  answers[#answers + 1] = redis.call(ARGV[at], KEYS[tonumber(ARGV[at + 1])], unpack(ARGV, at + 3, last))
  at = last + 1
end
return answers
