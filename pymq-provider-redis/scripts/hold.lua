-- Registers a handoff before a wait: a message that Redis moves there is leased from then on.
--
-- KEYS    1 leases and 2 list of the queue
-- ARGV    1 the handoff, 2 its lease in ms, from now
-- Return  how many messages are ready
--
-- Always sent with its code, in front of the BLMOVE of the wait: that must not run without it.
local clock = redis.call('TIME')
local now = math.ceil(clock[1] * 1000 + clock[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return redis.call('LLEN', KEYS[2])
