-- Keep how far a bulk operation is, the new ones and the ended ones too. At maxmemory too, since a purge is what a full
-- store needs: the first write removes nothing, and there is an end to the operations that are kept.
-- keys:  operations, operating, operators
-- args:  id, text, ended:number
-- gives: 1
redis.call('HDEL', operations, '')
redis.call('HSET', operations, id, text)
if ended == 1 then
  redis.call('SREM', operating, id)
  redis.call('HDEL', operators, id, id .. ':stop')
else
  redis.call('SADD', operating, id)
end
return 1
