-- Name the leases that have run out.
-- After a pause of everybody (the store was away, its clock jumped) and at the first look of all nobody is called lost for
-- one lease, so that living workers can renew first; a lease further ahead than two lengths, left by a clock that stepped back, is cut to one.
-- keys:  leases, patrols
-- args:  lease_ms:number, pause_ms:number, limit:number
-- uses:  drain, now
-- gives: ids of expired leases
local last = tonumber(redis.call('HGET', patrols, 'last_ms') or 0)
if now - last > pause_ms or now < last then
  redis.call('HSET', patrols, 'hold_until_ms', now + lease_ms)
end
redis.call('HSET', patrols, 'last_ms', now)
local ahead = redis.call('ZRANGE', leases, now + 2 * lease_ms, '+inf', 'BYSCORE', 'LIMIT', 0, limit)
for i = 1, #ahead do
  redis.call('ZADD', leases, now + lease_ms, ahead[i])
end
if now < tonumber(redis.call('HGET', patrols, 'hold_until_ms') or 0) then
  return {}
end
return redis.call('ZRANGE', leases, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
