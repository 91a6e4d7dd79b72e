-- Count the tasks of a queue by state, look at the one that is next, and at the settings and recent rates.
-- keys:  leases, records, settings, stats
-- args:  bytes_max:number
-- uses:  now, find
-- gives: {now, scheduled, pending, unroutable, running, retrying, succeeded, dead, cancelled, expired, live leases, score of the next, its record cut short, settings, counts of submitted, claimed, succeeded, retried, dead in this minute and the two before}
local head = redis.call('ZRANGE', pending, 0, 0, 'WITHSCORES')
local minute = math.floor(now / 60000)
local fields = {}
for _, series in ipairs({'submitted', 'claimed', 'succeeded', 'retried', 'dead'}) do
  for back = 0, 2 do
    fields[#fields + 1] = 'm' .. (minute - back) .. ':' .. series
  end
end
local recent = redis.call('HMGET', stats, unpack(fields))
for i = 1, #recent do
  recent[i] = tonumber(recent[i] or 0)
end
local record = head[1] and redis.call('HGET', records, head[1]) or ''
return {
  now,
  redis.call('ZCARD', scheduled), redis.call('ZCARD', pending), redis.call('ZCARD', unroutable), redis.call('HLEN', running),
  redis.call('ZCARD', retrying), redis.call('ZCARD', succeeded), redis.call('ZCARD', dead),
  redis.call('ZCARD', cancelled), redis.call('ZCARD', expired), redis.call('ZCOUNT', leases, now, '+inf'),
  head[2] or '', string.sub(record, 1, bytes_max), #record, redis.call('HGETALL', settings), recent,
}
