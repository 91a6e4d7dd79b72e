-- Extend a lease, unless it is gone.
-- keys:  leases
-- args:  lease, lease_ms:number
-- uses:  drain, now
-- gives: 1 when it holds, 0 when it is gone
if not redis.call('ZSCORE', leases, lease) then
  return 0
end
redis.call('ZADD', leases, now + lease_ms, lease)
return 1
