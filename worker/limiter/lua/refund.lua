#!lua flags=allow-oom
-- refund(slot, cost, probe): give a booked slot back when no request follows. Times in µs.
-- KEYS   1 {account}:pace (its fields: book.lua)
-- ARGV   slot, cost and probe (0 or 1) as book answered them
-- Result 1 given back, 0 lost
-- Keeps  the limit of book: only the latest slot can be given back, because later ones build on the earlier.
-- Twice  gives back once: the slot is no longer the latest.
if redis.call('HGET', KEYS[1], 'tat') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'tat', string.format('%.0f', ARGV[1] - ARGV[2]))
if ARGV[3] == '1' and redis.call('HGET', KEYS[1], 'probe') == '1' then
  redis.call('HSET', KEYS[1], 'probe', 0, 'open_until', 0)
end
return 1
