-- Moves dead letters to the back of the queue as new messages, as far as the bound goes.
--
-- KEYS    of the queue
-- ARGV    1 `all`: 2 the last id to move, 3 how many letters to look at, 4 how many to pass over; the first time
--                  2 is empty, and what there is now is meant
--         1 `ids`: 2.. ids, in this order
-- Return  how many were moved, then 2, 3 and 4 for the next call: there is none to be made when 3 is 0
--         for `ids` 3 is how many are left
--
-- Passes at maxmemory: the first write is ZREM.
check_types()
local moved = 0

-- What a letter is as a new message; nil for what somebody else put there, which stays.
local function payload_of(member)
  local length, start = string.match(member, '^[^:]+:%d+:(%d+):()')
  if length and #length <= 10 and start + length <= #member + 1 then
    return string.sub(member, start + length)
  end
  return nil
end

local function move(member, payload)
  redis.call('ZREM', dead, member)
  redis.call('LPUSH', list, payload)
  moved = moved + 1
end

if ARGV[1] == 'ids' then
  for i = 2, #ARGV do
    -- A semicolon follows the colon: everything between the two starts with this id and a colon.
    local found = redis.call('ZRANGEBYLEX', dead, '[' .. ARGV[i] .. ':', '(' .. ARGV[i] .. ';', 'LIMIT', 0, 1)
    local payload = found[1] and payload_of(found[1])
    if payload then
      if not fits(#found[1]) then
        return { moved, '', #ARGV - i + 1, 0 }
      end
      move(found[1], payload)
    end
  end
  return { moved, '', 0, 0 }
end

local last, left, passed = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if last == '' then
  left = redis.call('ZCARD', dead)
  last = string.match(redis.call('ZRANGE', dead, -1, -1)[1] or '', '^[^:]*')
end
while left > 0 do
  local member = redis.call('ZRANGEBYLEX', dead, '-', '(' .. last .. ';', 'LIMIT', passed, 1)[1]
  if not member then
    -- Others moved or removed the rest.
    left = 0
    break
  end
  if not fits(#member) then
    break
  end
  local payload = payload_of(member)
  if payload then
    move(member, payload)
  else
    passed = passed + 1
  end
  left = left - 1
end
return { moved, last, left, passed }
