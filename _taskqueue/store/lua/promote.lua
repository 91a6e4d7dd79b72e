-- Make due tasks pending and expire those not started in time.
-- moves: scheduled, retrying -> pending; scheduled, pending, retrying -> expired
-- keys:  pending, unroutable, scheduled, retrying, expired, expiries, wake
-- args:  head_start_ms:number, limit:number
-- uses:  now, wake, move
-- gives: {promoted, worst lateness ms, expired, ms to the next due task or -1}
local first, late = promote(scheduled, limit)
local second, late_again = promote(retrying, limit)
local gone = expire(limit)
if first + second > 0 then
  leave_token()
end
return {first + second, math.max(late, late_again), gone, next_due()}
