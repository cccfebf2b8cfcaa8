-- Opens a handoff again that `close_wait.lua` has closed, while its BLMOVE still blocks.
--
-- KEYS    1 leases and 2 list of the queue, 3 list of the handoff
-- ARGV    1 the handoff, 2 its lease in ms, from now
local clock = redis.call('TIME')
local now = math.ceil(clock[1] * 1000 + clock[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
if type(redis.pcall('LLEN', KEYS[3])) ~= 'number' then
  redis.call('UNLINK', KEYS[3])
end
