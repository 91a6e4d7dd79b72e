-- Make held tasks pending again, for a worker that knows their names.
-- keys:  leases, unroutable, pending, wake
-- args:  wakes:number, ...
-- rest:  per task: id, pending score
-- uses:  sound, check, drain, wake
-- gives: how many
local count = 0
for i = rest + 1, #ARGV, 2 do
  if redis.call('ZSCORE', unroutable, ARGV[i]) then
    redis.call('ZADD', pending, ARGV[i + 1], ARGV[i])
    redis.call('ZREM', unroutable, ARGV[i])
    count = count + 1
  end
end
if count > 0 and wakes == 1 then
  leave_token()
end
return count
