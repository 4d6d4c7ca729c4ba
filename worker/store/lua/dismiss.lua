#!lua flags=allow-oom
-- dismiss(base; now, deed, why (JSON of {by, reason}), job…) → as cancel: {looked at, {dismissed…}, {job, why not…}}
-- Invariant: a dismissed job stays failed and lives as long as before; it only waits for no decision any more.
-- The same call again names the same jobs, and counts and writes nothing.
local base, now, fresh, done, refused = KEYS[1], clock(ARGV[1]), 0, {}, {}
for i = 4, #ARGV do
  local key = base .. ':job:' .. ARGV[i]
  local state = redis.call('HGET', key, 's')
  if state == 'failed' then
    drop_failure(base, ARGV[i])
    fresh = fresh + redis.call('HSETNX', key, 'd', us(now) .. ' ' .. ARGV[3])
    done[#done + 1] = ARGV[i]
  else
    refused[#refused + 1] = ARGV[i]
    refused[#refused + 1] = state or 'gone'
  end
end
count_deed(base, now, ARGV[2], fresh)
return {#ARGV - 3, done, refused}
