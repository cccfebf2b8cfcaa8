-- Publishes requests, except those to a channel without servers and those whose time is over.
--
-- KEYS    none
-- ARGV    1 the command that publishes, 2 the word of PUBSUB that counts; then for each channel
--         1 its name, 2 `one` if one of several servers runs each request, `claim` if the count may
--         leave one out, `all` if all run it, 3 the number of requests, then five for each request:
--           the time by which it must begin, in ms of the server's clock; empty if there is none,
--             0 if its caller has left
--           the request up to the number of ms that are left
--           what follows that number, empty if there is no time
--           the end of the request to the only server, or to all servers
--           the end of the request with a claim, if one of several servers is to run it
-- Return  1 the result of TIME; 2 for each channel the number of servers, where 0 means that
--         nothing was sent, or the text of its error; 3 the numbers of the requests whose time is
--         over, from 0 over all channels
--
-- Invariants: the servers that are counted are those that the requests reach. Patterns are not
-- counted, because they never serve. An error on one channel affects no other channel.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local pcall, argv = redis.pcall, ARGV
local results, late = {}, {}
local publish, count_servers = argv[1], argv[2]
local at, number = 3, 0
while argv[at] do
  local channel, to, count = argv[at], argv[at + 1], tonumber(argv[at + 2])
  local counted = pcall('PUBSUB', count_servers, channel)
  local result = counted.err or counted[2]
  local is_sent = not counted.err and result > 0
  local is_claimed = to == 'claim' or to == 'one' and result ~= 1
  at = at + 3
  for _ = 1, count do
    local begin_by = tonumber(argv[at])
    if begin_by and begin_by <= now then
      late[#late + 1] = number
    elseif is_sent then
      local left = begin_by and string.format('%.0f', begin_by - now) or ''
      local tail = is_claimed and argv[at + 4] or argv[at + 3]
      local reached = pcall(publish, channel, argv[at + 1] .. left .. argv[at + 2] .. tail)
      if type(reached) == 'table' then
        result, is_sent = reached.err, false
      end
    end
    at = at + 5
    number = number + 1
  end
  results[#results + 1] = result
end
return { clock, results, late }
