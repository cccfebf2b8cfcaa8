-- Removes all messages of one part of a queue.
--
-- KEYS    1 the list or sorted set
-- ARGV    1 LLEN or ZCARD, which raises if the key has another type
-- Return  how many messages it held
local count = redis.call(ARGV[1], KEYS[1])
redis.call('UNLINK', KEYS[1])
return count
