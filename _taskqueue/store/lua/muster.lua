-- Count the worker processes that live and those that fell silent.
-- keys:  beats
-- args:  lease_ms:number
-- uses:  now
-- gives: {live, silent}
local live = redis.call('ZCOUNT', beats, now - lease_ms, '+inf')
return {live, redis.call('ZCARD', beats) - live}
