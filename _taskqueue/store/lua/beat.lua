-- Say that a worker process lives, and forget those silent for long.
-- keys:  workers, beats
-- args:  worker, text, silent_ms:number
-- uses:  now
-- gives: now
redis.call('HSET', workers, worker, text)
redis.call('ZADD', beats, now, worker)
local silent = redis.call('ZRANGE', beats, '-inf', now - silent_ms, 'BYSCORE', 'LIMIT', 0, 100)
if #silent > 0 then
  redis.call('ZREM', beats, unpack(silent))
  redis.call('HDEL', workers, unpack(silent))
end
return now
