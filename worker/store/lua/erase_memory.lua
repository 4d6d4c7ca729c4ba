#!lua flags=allow-oom
-- erase_memory(base; now, relation) → {how many went, until when (µs, '0': not) a write of it may still land}
-- Invariant: a memory whose doubt is not over stays, so that a later change still waits for the late write
--   (R14).
local key = KEYS[1] .. ':rel:' .. ARGV[2]
local memory = redis.call('HGET', key, 'k')
local doubt = memory and cjson.decode(memory).d
if doubt and doubt[1] > read_clock(ARGV[1]) then return {0, as_text(doubt[1])} end
return {redis.call('DEL', key), '0'}
