-- Moves dead letters to the back of the queue as new messages, up to the bound.
--
-- KEYS    of the queue
-- ARGV    1 `all`: 2 the last id to move, 3 how many letters to examine, 4 how many to skip; in
--                  the first call, 2 is empty, and the letters that exist then are meant
--         1 `ids`: 2.. ids, in this order
-- Return  1 how many were moved, 2 to 4 for the next call; there is none when 3 is 0
--         for `ids`, 3 is how many are left
--
-- Passes at maxmemory: the first write removes.
check_types()
local moved = 0

-- Returns the payload of a letter, or nil if another program wrote it. Such a member stays.
local function payload_of(member)
  local length, start = string.match(member, '^[^:]+:%d+:(%d+):()')
  if length and #length <= 10 and start + length <= #member + 1 then
    return string.sub(member, start + length)
  end
  return nil
end

local function push(payload)
  redis.call('LPUSH', list, payload)
  moved = moved + 1
end

if ARGV[1] == 'ids' then
  for i = 2, #ARGV do
    -- `;` is the byte after `:`: the range holds each member that starts with this id and a colon.
    local first, past = '[' .. ARGV[i] .. ':', '(' .. ARGV[i] .. ';'
    if is_full() then
      return { moved, '', #ARGV - i + 1, 0 }
    end
    local found = redis.call('ZRANGEBYLEX', dead, first, past, 'LIMIT', 0, 1)
    local payload = found[1] and payload_of(found[1])
    if payload then
      if not fits(#found[1]) then
        return { moved, '', #ARGV - i + 1, 0 }
      end
      redis.call('ZREM', dead, found[1])
      push(payload)
    end
  end
  return { moved, '', 0, 0 }
end

local last_id, remaining, skipped = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if last_id == '' then
  remaining = redis.call('ZCARD', dead)
  local last = redis.call('ZRANGE', dead, -1, -1)[1] or ''
  last_id = string.match(last, '^[^:]*')
  fits(#last)
end
while remaining > 0 and not is_full() do
  local member = redis.call('ZRANGEBYLEX', dead, '-', '(' .. last_id .. ';', 'LIMIT', skipped, 1)[1]
  if not member then
    -- Other clients have moved or removed the rest.
    remaining = 0
    break
  end
  if not fits(#member) then
    break
  end
  local payload = payload_of(member)
  if payload then
    -- By its rank: to name a large member is to copy it.
    redis.call('ZREMRANGEBYRANK', dead, skipped, skipped)
    push(payload)
  else
    skipped = skipped + 1
  end
  remaining = remaining - 1
end
return { moved, last_id, remaining, skipped }
