-- Put before erase: lists of ids, relations and guards without what names a record.
-- sides = type → which of its sides the record can stand on: p, c or pc

local function without(list, mark, named) -- the pieces that do not name it, and how many do
  local kept, lost = {}, 0
  for piece in string.gmatch(list or '', '[^ ,]+') do
    if named(piece) then lost = lost + 1 else kept[#kept + 1] = piece end
  end
  return table.concat(kept, mark), lost
end

local function stands_on(sides, type, side) return sides[type] and string.find(sides[type], side, 1, true) end

local function naming(sides, id) -- whether an id, a relation, a guard is or names the record
  local function is(piece) return piece == id end
  local function relation(piece)
    local type, parent, child = string.match(piece, '^(.*):(%d+):(%d+)$')
    return (parent == id and stands_on(sides, type, 'p')) or (child == id and stands_on(sides, type, 'c'))
  end
  local function guard(piece) -- "<type>:<parent>" or "<type>::<child>"
    local type, mark, number = string.match(piece, '^(.-)(::?)(%d+)$')
    return number == id and stands_on(sides, type, mark == '::' and 'c' or 'p')
  end
  return is, relation, guard
end

local function put(key, name, value) -- an empty one goes
  if value == '' then redis.call('HDEL', key, name) else redis.call('HSET', key, name, value) end
end

local function ids_in(list) return select(2, string.gsub(list, '%d+', '')) end

local function drop_labels(key, id, labels) -- what the producer called it, where that has the number in it
  for name, label in pairs(labels) do
    local plain = label and string.gsub(label, '(%d)[.,](%d)', '%1%2') -- 4.629 is 4629; rather once too often
    if label and (string.find(label, '%f[%d]' .. id .. '%f[%D]') or string.find(plain, '%f[%d]' .. id .. '%f[%D]')) then
      redis.call('HDEL', key, name)
    end
  end
end

local function drop_words(key, refusal) -- what the API said, which may name it
  if not refusal then return end
  local known = cjson.decode(refusal)
  redis.call('HSET', key, 'x', cjson.encode({known[1], known[2], '', ''}))
end
