#!lua flags=allow-oom
-- resume(base; now, audit entry, since µs ('': any)) → 1 when it was paused (since then), else 0
-- Invariant: refused credentials are remembered for REFUSED_LIFE_US when others end the pause, and forgotten
--   when a person does.
-- Who resumes an account that the brake has stopped grants it a fresh hour, and deletes ahead do not stop it
--   again.
local base, now = KEYS[1], read_clock(ARGV[1])
local stopped = pause_in_force(base, now)
if ARGV[3] ~= '' and not (stopped and stopped[3] == ARGV[3]) then return 0 end -- it is another pause by now
local braked = stopped and (stopped[1] == 'brake' or redis.call('HEXISTS', base .. ':pause', 'braked') == 1)
redis.call('DEL', base .. ':pause', base .. ':wake')
if not stopped then return 0 end
if ARGV[3] ~= '' and stopped[5] ~= '' then
  redis.call('HSET', base .. ':refused', 'fingerprint', stopped[5], 'until', as_text(now + REFUSED_LIFE_US))
  redis.call('PEXPIRE', base .. ':refused', REFUSED_LIFE_US / 1000)
else
  redis.call('DEL', base .. ':refused')
end
if braked then
  redis.call('DEL', base .. ':deletes')
  redis.call('HSET', base .. ':deletes', 'go', as_text(now))
  redis.call('PEXPIRE', base .. ':deletes', BRAKE_WINDOW_US / 1000)
end
write_audit_entry(base, now, ARGV[2], 1)
return 1
