-- Put before take and settle: everything one transition writes, in one place.
local function write(base, now, writes, keep)
  set_opens(base, writes.opens)
  for _, relation in ipairs(writes.relations) do set_relation(base, relation[1], relation[2], keep[3]) end
  for _, entry in ipairs(writes.jobs) do set_job(base, now, entry, keep, writes.counts) end
  for name, by in pairs(writes.counts) do redis.call('HINCRBY', base .. ':counts', name, by) end
end
