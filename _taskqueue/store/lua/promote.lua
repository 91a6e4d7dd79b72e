-- Make due tasks pending, expire those not started in time, let go of unique keys whose time is up.
-- moves: scheduled, retrying -> pending; scheduled, pending, retrying -> expired
-- keys:  pending, scheduled, retrying, uniques, unique_ends
-- args:  head_start_ms:number, limit:number
-- uses:  sound, check, drain, now, wake, tell, tally, fail, finish, move
-- gives: {promoted, worst lateness ms, expired, µs to the next due task or -1}
local gone = expire(limit)
local promoted, late, due_in = promote_all(limit)
if promoted > 0 then
  leave_token()
end
local over = redis.call('ZRANGE', unique_ends, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
if #over > 0 then
  redis.call('HDEL', uniques, unpack(over))
  redis.call('ZREM', unique_ends, unpack(over))
end
return {promoted, late, gone, due_in}
