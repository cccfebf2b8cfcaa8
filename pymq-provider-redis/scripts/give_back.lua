-- Gives messages that reached no caller back to the front, once for each mark.
--
-- KEYS    1 list, 2 the mark of this call
-- ARGV    1 lifetime of the mark in ms, 2.. payloads, the one to be taken last first
-- Return  1 given back, 0 was given back by an earlier call with this mark
--
-- Passes at maxmemory: the first write is an LTRIM that keeps everything. It also raises if the key
-- is not a list.
redis.call('LTRIM', KEYS[1], 0, -1)
if not redis.call('SET', KEYS[2], '', 'NX', 'PX', ARGV[1]) then
  return 0
end
for i = 2, #ARGV do
  redis.call('RPUSH', KEYS[1], ARGV[i])
end
return 1
