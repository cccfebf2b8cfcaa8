-- Pushes answers into the reply inbox of a caller.
--
-- KEYS: 1 the inbox, a list
-- ARGV: the answers
-- Returns the result of TIME, from which a server learns for its next requests.
--
-- Invariant: an inbox always ends by itself, as its caller may be gone. The LTRIM changes nothing; it is there because a
-- script whose first write is one passes as a whole when memory is short.
redis.call('LTRIM', KEYS[1], 0, -1)
-- Lua bounds the number of arguments of one call.
for first = 1, #ARGV, 1000 do
  redis.call('LPUSH', KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
redis.call('EXPIRE', KEYS[1], 300)
return redis.call('TIME')
