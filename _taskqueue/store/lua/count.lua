-- Count the tasks of a queue by state, look at the one that is next, and at the settings and recent rates.
-- keys:  leases, records, settings, stats
-- args:  
-- uses:  now, find
-- gives: {now, scheduled, pending, unroutable, running, retrying, succeeded, dead, cancelled, expired, live leases, score of the next, its record cut short, settings, tasks claimed and ended in this minute and the two before}
local head = redis.call('ZRANGE', pending, 0, 0, 'WITHSCORES')
local minute = math.floor(now / 60000)
local recent = redis.call('HMGET', stats,
  'm' .. minute .. ':claimed', 'm' .. (minute - 1) .. ':claimed', 'm' .. (minute - 2) .. ':claimed',
  'm' .. minute .. ':succeeded', 'm' .. (minute - 1) .. ':succeeded', 'm' .. (minute - 2) .. ':succeeded',
  'm' .. minute .. ':dead', 'm' .. (minute - 1) .. ':dead', 'm' .. (minute - 2) .. ':dead')
for i = 1, #recent do
  recent[i] = tonumber(recent[i] or 0)
end
local record = head[1] and redis.call('HGET', records, head[1]) or ''
return {
  now,
  redis.call('ZCARD', scheduled), redis.call('ZCARD', pending), redis.call('ZCARD', unroutable), redis.call('HLEN', running),
  redis.call('ZCARD', retrying), redis.call('ZCARD', succeeded), redis.call('ZCARD', dead),
  redis.call('ZCARD', cancelled), redis.call('ZCARD', expired), redis.call('ZCOUNT', leases, now, '+inf'),
  head[2] or '', string.sub(record, 1, 16384), #record, redis.call('HGETALL', settings), recent,
}
