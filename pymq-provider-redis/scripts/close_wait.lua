-- Closes a handoff, whether Redis has received the BLMOVE of its wait or not: Redis moves nothing to
-- a string.
--
-- KEYS    1 leases and 2 list of the queue, 3 list of the handoff
-- ARGV    1 the handoff, 2 how long it stays closed, in ms
-- Return  how many messages are ready; -1 if the handoff holds one, and is not closed
if redis.call('EXISTS', KEYS[3]) == 1 then
  return -1
end
redis.call('SET', KEYS[3], '', 'PX', ARGV[2])
redis.call('ZREM', KEYS[1], ARGV[1])
return redis.call('LLEN', KEYS[2])
