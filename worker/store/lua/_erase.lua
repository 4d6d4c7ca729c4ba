-- Put before erase_jobs: lists of ids and relations without those that name the record.
-- sides = type → the sides the record can be on: p (parent), c (child) or pc

local function without(list, separator, is_named) -- the pieces without those that name the record, and how many those are
  local kept, lost = {}, 0
  for piece in string.gmatch(list or '', '[^ ,]+') do
    if is_named(piece) then lost = lost + 1 else kept[#kept + 1] = piece end
  end
  return table.concat(kept, separator), lost
end

local function is_on(sides, type, side) return sides[type] and string.find(sides[type], side, 1, true) end

local function matchers(sides, id) -- two tests: whether an id is the record's, whether a relation names it
  local function is(piece) return piece == id end
  local function relation(piece)
    local type, parent, child = string.match(piece, '^(.*):(%d+):(%d+)$')
    return (parent == id and is_on(sides, type, 'p')) or (child == id and is_on(sides, type, 'c'))
  end
  return is, relation
end

local function set_or_delete(key, name, value)
  if value == '' then redis.call('HDEL', key, name) else redis.call('HSET', key, name, value) end
end

local function count_ids(list) return select(2, string.gsub(list, '%d+', '')) end

local function drop_labels(key, id, labels) -- the producer's own labels that have the record's number in them
  for name, label in pairs(labels) do
    local plain = label and string.gsub(label, '(%d)[.,](%d)', '%1%2') -- 4.629 is 4629; rather one label too many than too few
    if label and (string.find(label, '%f[%d]' .. id .. '%f[%D]') or string.find(plain, '%f[%d]' .. id .. '%f[%D]')) then
      redis.call('HDEL', key, name)
    end
  end
end

local function drop_messages(key, refusal) -- the API's message and the relation, which may name the record
  if not refusal then return end
  local known = cjson.decode(refusal)
  redis.call('HSET', key, 'x', cjson.encode({known[1], known[2], '', ''}))
end
