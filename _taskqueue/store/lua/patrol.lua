-- Name the leases that have run out.
-- After a pause of everybody (the store was away, its clock jumped) and at the first look of all nobody is called lost for
-- the longest lease there is, so that living workers can renew first; a lease further ahead than two of its own lengths,
-- left by a clock that stepped back, is cut to one. Workers may differ in the length of their leases, so the looker's own
-- counts only for a lease that was opened by a release which did not keep its length.
-- keys:  leases, lengths, patrols
-- args:  lease_ms:number, pause_ms:number, limit:number
-- uses:  sound, check, drain, now
-- gives: ids of expired leases
local furthest = redis.call('ZRANGE', leases, '+inf', now, 'BYSCORE', 'REV', 'LIMIT', 0, 1000, 'WITHSCORES')
local longest = lease_ms
for i = 1, #furthest, 2 do
  local own_ms = tonumber(redis.call('HGET', lengths, furthest[i]) or lease_ms)
  longest = math.max(longest, own_ms)
  if tonumber(furthest[i + 1]) >= now + 2 * own_ms then
    redis.call('ZADD', leases, now + own_ms, furthest[i])
  end
end

local over = redis.call('ZRANGE', leases, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
for i = 1, #over do
  longest = math.max(longest, tonumber(redis.call('HGET', lengths, over[i]) or lease_ms))
end
local last = tonumber(redis.call('HGET', patrols, 'last_ms') or 0)
if now - last > pause_ms or now < last then
  redis.call('HSET', patrols, 'hold_until_ms', now + longest)
end
redis.call('HSET', patrols, 'last_ms', now)
if now < tonumber(redis.call('HGET', patrols, 'hold_until_ms') or 0) then
  return {}
end
return over
