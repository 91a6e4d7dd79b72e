-- Roll old minutes of the statistics up into hours, and drop hours that are too old: up to a day's at a call. At maxmemory
-- too: the first write removes nothing.
-- keys:  stats
-- args:  minutes_kept:number, hours_kept:number
-- uses:  now
-- gives: how many minutes were rolled up
redis.call('HDEL', stats, '')
local series = {'submitted', 'claimed', 'succeeded', 'retried', 'dead', 'cancelled', 'expired', 'lost'}
local oldest = math.floor(now / 60000) - minutes_kept
local from = tonumber(redis.call('HGET', stats, 'rolled') or oldest - 60)
if from > oldest + minutes_kept then
  from = oldest - 60
end
local upto = math.min(oldest, from + 1440)
for m = from, upto - 1 do
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
if from < upto then
  redis.call('HSET', stats, 'rolled', upto)
  for hour = math.floor((from + minutes_kept) / 60) - hours_kept - 1, math.floor((upto + minutes_kept) / 60) - hours_kept do
    for _, name in ipairs(series) do
      redis.call('HDEL', stats, 'h' .. hour .. ':' .. name)
    end
  end
end
return math.max(0, upto - from)
