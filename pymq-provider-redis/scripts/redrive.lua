-- Moves dead letters to the back of the queue as new messages.
--
-- KEYS    of the queue
-- ARGV    1 the most to move, the oldest first; or 1 zero, 2.. ids, in this order
-- Return  how many
--
-- Passes at maxmemory: the first write is ZREM.
check_types()
local members = {}
if ARGV[1] == '0' then
  for i = 2, #ARGV do
    -- A semicolon follows the colon: everything between the two starts with this id and a colon.
    local found = redis.call('ZRANGEBYLEX', dead, '[' .. ARGV[i] .. ':', '(' .. ARGV[i] .. ';')
    members[#members + 1] = found[1]
  end
else
  members = redis.call('ZRANGE', dead, 0, tonumber(ARGV[1]) - 1)
end
local moved = 0
for _, member in ipairs(members) do
  -- Read before it is removed: what somebody else put here has no length, and stays.
  local length, start = string.match(member, '^[^:]*:%d+:(%d+):()')
  if length and redis.call('ZREM', dead, member) == 1 then
    redis.call('LPUSH', list, string.sub(member, start + length))
    moved = moved + 1
  end
end
return moved
