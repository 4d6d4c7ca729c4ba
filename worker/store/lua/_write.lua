-- Put before claim and settle: write everything that one transition changes.
local function write_all(base, now, writes, keep)
  write_open_relations(base, now, writes.opens)
  for _, relation in ipairs(writes.relations) do write_relation(base, relation[1], relation[2], keep[3]) end
  for _, entry in ipairs(writes.jobs) do update_job(base, now, entry, keep, writes.counts) end
  for name, by in pairs(writes.counts) do redis.call('HINCRBY', base .. ':counts', name, by) end
end
