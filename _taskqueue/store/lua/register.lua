-- Give a queue its route number, once. Numbers are never given twice, so names are never removed. At maxmemory too, for
-- workers that start then: the first write removes nothing, and there is an end to the names.
-- keys:  queues
-- args:  name, routes_max:number
-- gives: the number, or -1 when there are no more
local known = redis.call('HGET', queues, name)
if known then
  return tonumber(known)
end
local route = redis.call('HLEN', queues) + 1
if route >= routes_max then
  return -1
end
redis.call('HDEL', queues, '')
redis.call('HSET', queues, name, route)
return route
