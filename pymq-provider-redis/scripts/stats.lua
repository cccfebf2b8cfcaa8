-- Counts the messages in each part of a queue. The lease batches are counted 1,000 at a time.
--
-- KEYS    of the queue
-- ARGV    1 the rank of the first lease batch to count, 2 the time of the first call in ms, empty for the first
-- Return  1 ready, 2 delayed, 3 leased, 4 dead; what is due and what was leased too long ago is ready
--         5 the rank of the next batch to count, 0 when all are counted; 6 the time
--         A call for a rank above 0 counts nothing but leases.
local rank, time = tonumber(ARGV[1]), tonumber(ARGV[2]) or now
local ready, waiting, leased, letters = 0, 0, 0, 0
if rank == 0 then
  local due = redis.call('ZCOUNT', delayed, '-inf', time)
  ready = redis.call('LLEN', list) + due
  waiting = redis.call('ZCARD', delayed) - due
  letters = redis.call('ZCARD', dead)
end
local batches = redis.call('ZRANGE', leases, rank, rank + 999, 'WITHSCORES')
for i = 1, #batches, 2 do
  if tonumber(batches[i + 1]) > time then
    leased = leased + size_of(batches[i])
  else
    ready = ready + size_of(batches[i])
  end
end
return { ready, waiting, leased, letters, #batches == 2000 and rank + 1000 or 0, string.format('%.0f', time) }
