-- Publishes a request, unless nobody serves the channel.
--
-- KEYS: none
-- ARGV: 1 channel, 2 the request without its end, 3 its end for a single server, 4 its end for several
-- Returns the number of servers; 0 means that nothing was sent.
--
-- Invariant: who is counted here is who the request reaches. Patterns are not counted: they never serve.
local servers = redis.call('PUBSUB', 'NUMSUB', ARGV[1])[2]
if servers == 1 then
  redis.call('PUBLISH', ARGV[1], ARGV[2] .. ARGV[3])
elseif servers > 1 then
  redis.call('PUBLISH', ARGV[1], ARGV[2] .. ARGV[4])
end
return servers
