-- Open a lease for one worker session.
-- keys:  leases, holdings
-- args:  lease, lease_ms:number
-- uses:  now
-- gives: now
redis.call('ZADD', leases, now + lease_ms, lease)
redis.call('HSET', holdings, lease, 0)
return now
