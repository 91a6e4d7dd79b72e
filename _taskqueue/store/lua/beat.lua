-- Say that a worker process lives, forget those silent for long, and hear what it is told to do. At maxmemory too: the
-- first write removes nothing.
-- keys:  workers, beats, orders
-- args:  worker, text, silent_ms:number
-- uses:  now
-- gives: the order for this worker: quiet, resume, stop, or ''
redis.call('ZREM', beats, '')
redis.call('HSET', workers, worker, text)
redis.call('ZADD', beats, now, worker)
local silent = redis.call('ZRANGE', beats, '-inf', now - silent_ms, 'BYSCORE', 'LIMIT', 0, 100)
if #silent > 0 then
  redis.call('ZREM', beats, unpack(silent))
  redis.call('HDEL', workers, unpack(silent))
  redis.call('HDEL', orders, unpack(silent))
end
local order = redis.call('HGET', orders, worker)
if order then
  redis.call('HDEL', orders, worker)
end
return order or ''
