-- Claims a call for one server.
--
-- KEYS: 1 the claim, 2 a key that never exists
-- ARGV: 1 life of the claim in milliseconds, 2 the time by which the call must begin, in milliseconds of the server's
--       clock, or nothing
-- Returns 1 for the server that runs the call and 0 for all others, and the result of TIME.
--
-- Invariants: a claim is never deleted, or a slow server would win it again. After the time by which the call must
-- begin it is refused, whatever became of the claim. The DEL finds nothing; it is there because a script whose first
-- write is one passes as a whole when memory is short.
redis.call('DEL', KEYS[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local begin_by = tonumber(ARGV[2])
if begin_by and begin_by <= now then
  return { 0, clock }
end
if redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then
  return { 1, clock }
end
return { 0, clock }
