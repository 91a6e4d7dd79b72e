-- Count the tasks of a queue by state, and look at the one that is next.
-- keys:  leases, running, records, pending, unroutable, scheduled, retrying, succeeded, dead, cancelled, expired
-- args:  
-- uses:  now
-- gives: {now, scheduled, pending, unroutable, running, retrying, succeeded, dead, cancelled, expired, live leases, score of the next, its record}
local head = redis.call('ZRANGE', pending, 0, 0, 'WITHSCORES')
return {
  now,
  redis.call('ZCARD', scheduled), redis.call('ZCARD', pending), redis.call('ZCARD', unroutable), redis.call('HLEN', running),
  redis.call('ZCARD', retrying), redis.call('ZCARD', succeeded), redis.call('ZCARD', dead),
  redis.call('ZCARD', cancelled), redis.call('ZCARD', expired), redis.call('ZCOUNT', leases, now, '+inf'),
  head[2] or '', head[1] and redis.call('HGET', records, head[1]) or '',
}
