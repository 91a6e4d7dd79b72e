-- Give running tasks of one lease back to where they stood in their queue, at no cost to them; on request end the lease.
-- moves: running -> pending, cancelled
-- keys:  leases, holdings, lengths, turns, running, pending, cancelling
-- args:  lease, close:number, holding:number, ...
-- rest:  ids to give back; holding is how many stay with the lease
-- uses:  sound, check, drain, now, wake, held, tell, tally, fail, finish
-- gives: how many went back, or -1 when the lease is gone
if not redis.call('ZSCORE', leases, lease) then
  return -1
end

local function leave(ids)
  redis.call('HDEL', running, ids[1])
  redis.call('HDEL', cancelling, ids[1])
end

local count, mine, back = 0, lease .. '|', {}
for i = rest + 1, #ARGV do
  local id = ARGV[i]
  local held = redis.call('HGET', running, id)
  if held and string.sub(held, 1, #mine) == mine then
    if redis.call('HEXISTS', cancelling, id) == 1 then
      finish('cancelled', {id}, leave)
    else
      redis.call('ZADD', pending, read_claim(held).score, id)
      leave({id})
      back[#back + 1] = id
    end
    count = count + 1
  end
end
if close == 1 then
  redis.call('ZREM', leases, lease)
  redis.call('HDEL', holdings, lease)
  redis.call('HDEL', lengths, lease)
  redis.call('HDEL', turns, lease)
else
  redis.call('HSET', holdings, lease, holding)
end
tell('pending', back)
if count > 0 then
  leave_token()
end
return count
