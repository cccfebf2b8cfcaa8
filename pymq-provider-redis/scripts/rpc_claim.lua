-- Claims a call for one server.
--
-- KEYS: 1 the claim, 2 a key that never exists
-- ARGV: 1 life of the claim in milliseconds
-- Returns 1 for the server that runs the call, 0 for all others.
--
-- Invariant: a claim is never deleted, or a slow server would win it again. The DEL finds nothing; it is there because
-- a script whose first write is one passes as a whole when memory is short.
redis.call('DEL', KEYS[2])
if redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then
  return 1
end
return 0
