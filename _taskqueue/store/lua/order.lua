-- Leave a word for a worker or an operation, in the hash that it looks at. At maxmemory too: the first write removes nothing.
-- keys:  index
-- args:  name, order
-- gives: 1
redis.call('HDEL', index, '')
redis.call('HSET', index, name, order)
return 1
