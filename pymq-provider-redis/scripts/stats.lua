-- Counts the messages in each part of a queue, with up to 1,000 lease batches in one call.
--
-- KEYS    of the queue
-- ARGV    1 the rank of the first lease batch to count, 2 the time in ms of the first call, or
--         empty
-- Return  1 ready, 2 delayed, 3 leased, 4 dead; due messages and ended leases count as ready
--         5 the rank of the next batch to count, 0 when all are counted; 6 the time
--         A call for a rank above 0 counts only leases.
local rank, time = tonumber(ARGV[1]), tonumber(ARGV[2]) or now
local ready, delayed_count, leased, dead_count = 0, 0, 0, 0
if rank == 0 then
  local due = redis.call('ZCOUNT', delayed, '-inf', time)
  ready = redis.call('LLEN', list) + due
  delayed_count = redis.call('ZCARD', delayed) - due
  dead_count = redis.call('ZCARD', dead)
end
local batches = redis.call('ZRANGE', leases, rank, rank + 999, 'WITHSCORES')
for i = 1, #batches, 2 do
  if tonumber(batches[i + 1]) > time then
    leased = leased + size_of(batches[i])
  else
    ready = ready + size_of(batches[i])
  end
end
local next_rank = #batches == 2000 and rank + 1000 or 0
return { ready, delayed_count, leased, dead_count, next_rank, string.format('%.0f', time) }
