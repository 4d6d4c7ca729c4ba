#!lua flags=allow-oom
-- resume(base; now, deed, since µs ('': any)) → 1 when it was paused (since then), else 0
-- Invariant: credentials that were refused are remembered for ten minutes when others end the pause, and forgotten when a person does.
-- Whoever lets an account go on that the brake has stopped grants it a fresh hour, and a look ahead does not stop it again.
local base, now = KEYS[1], clock(ARGV[1])
local stopped = pause(base, now)
if ARGV[3] ~= '' and not (stopped and stopped[3] == ARGV[3]) then return 0 end -- it is another pause by now
local braked = stopped and (stopped[1] == 'brake' or redis.call('HEXISTS', base .. ':pause', 'braked') == 1)
redis.call('DEL', base .. ':pause', base .. ':wake')
if not stopped then return 0 end
if ARGV[3] ~= '' and stopped[5] ~= '' then
  redis.call('HSET', base .. ':refused', 'fingerprint', stopped[5], 'until', us(now + 600000000))
  redis.call('PEXPIRE', base .. ':refused', 600000)
else
  redis.call('DEL', base .. ':refused')
end
if braked then
  redis.call('DEL', base .. ':deletes')
  redis.call('HSET', base .. ':deletes', 'go', us(now))
  redis.call('PEXPIRE', base .. ':deletes', 3600000)
end
write_deed(base, now, ARGV[2], 1)
return 1
