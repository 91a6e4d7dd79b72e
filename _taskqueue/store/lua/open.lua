-- Open a lease for one worker session.
-- keys:  leases, holdings, lengths
-- args:  lease, lease_ms:number
-- uses:  sound, check, drain, now
-- gives: now
redis.call('HSET', holdings, lease, 0)
redis.call('HSET', lengths, lease, lease_ms)
redis.call('ZADD', leases, now + lease_ms, lease)
return now
