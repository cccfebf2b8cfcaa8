-- Gives messages that were taken for nobody back to the front, once.
--
-- KEYS    1 list, 2 the mark of this attempt
-- ARGV    1 ms that the mark lasts, 2.. payloads, the one to be taken last first
-- Return  1 given back, 0 was given back before
--
-- Passes at maxmemory: the first write is a LTRIM that keeps everything. It also raises if the list is none.
redis.call('LTRIM', KEYS[1], 0, -1)
if not redis.call('SET', KEYS[2], '', 'NX', 'PX', ARGV[1]) then
  return 0
end
for i = 2, #ARGV do
  redis.call('RPUSH', KEYS[1], ARGV[i])
end
return 1
