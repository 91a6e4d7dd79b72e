-- Roll old minutes of the statistics up into hours, and drop hours that are too old.
-- keys:  stats
-- args:  minutes_kept:number, hours_kept:number
-- uses:  now
-- gives: how many minutes were rolled up
local series = {'submitted', 'claimed', 'succeeded', 'retried', 'dead', 'cancelled', 'expired', 'lost'}
local minute = math.floor(now / 60000)
local oldest = minute - minutes_kept
local from = tonumber(redis.call('HGET', stats, 'rolled') or oldest - 60)
from = math.max(from, oldest - 1440)
for m = from, oldest - 1 do
  local hour = math.floor(m / 60)
  for _, name in ipairs(series) do
    local field = 'm' .. m .. ':' .. name
    local count = redis.call('HGET', stats, field)
    if count then
      redis.call('HINCRBY', stats, 'h' .. hour .. ':' .. name, count)
      redis.call('HDEL', stats, field)
    end
  end
end
if from < oldest then
  redis.call('HSET', stats, 'rolled', oldest)
  local last = math.floor(minute / 60) - hours_kept
  for hour = last - 24, last do
    for _, name in ipairs(series) do
      redis.call('HDEL', stats, 'h' .. hour .. ':' .. name)
    end
  end
end
return math.max(0, oldest - from)
