-- Take tasks back from a lease that has run out. The first call ends the lease, so its late answers are refused.
-- Each task is guarded by the claim the caller saw, and the expiry is read again here: a lease renewed meanwhile is left alone.
-- moves: running -> pending, retrying, dead, cancelled
-- keys:  leases, holdings, lengths, turns, running, pending, retrying, cancelling, outcomes, tries, history
-- args:  lease, ...
-- rest:  per task: id, claim seen, verdict, number = delay_ms * 16 + priority, history entry, outcome, fault
-- uses:  sound, check, drain, now, wake, held, tell, tally, fail, finish, move
-- gives: how many were taken, or -1 when the lease lives
local expiry = redis.call('ZSCORE', leases, lease)
if expiry and tonumber(expiry) > now then
  return -1
end
local function leave(ids)
  redis.call('HDEL', running, ids[1])
  redis.call('HDEL', cancelling, ids[1])
end

local count, again, back = 0, {}, {}
for i = rest + 1, #ARGV, 7 do
  local id, seen, verdict = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if redis.call('HGET', running, id) == seen then
    local claim = read_claim(seen)
    local crashes = claim.crashes
    if claim.flag ~= 'p' then
      redis.call('HSET', history, id .. ':' .. (claim.attempt + crashes), ARGV[i + 4])
      crashes = crashes + 1
    end
    redis.call('HSET', tries, id, (claim.attempt - 1) .. '|' .. crashes)
    if redis.call('HEXISTS', cancelling, id) == 1 then
      finish('cancelled', {id}, leave)
    elseif verdict == 'dead' then
      redis.call('HSET', outcomes, id, ARGV[i + 5])
      mark_failing(id, ARGV[i + 6])
      finish('dead', {id}, leave)
    elseif verdict == 'retry' then
      local number = tonumber(ARGV[i + 3])
      local priority = number % 16
      mark_failing(id, ARGV[i + 6])
      wait_in(retrying, id, now + (number - priority) / 16, priority)
      leave({id})
      again[#again + 1] = id
    else
      redis.call('ZADD', pending, claim.score, id)
      leave({id})
      back[#back + 1] = id
    end
    count = count + 1
  end
end
redis.call('HDEL', holdings, lease)
redis.call('HDEL', lengths, lease)
redis.call('HDEL', turns, lease)
redis.call('ZREM', leases, lease)
tally('lost', count)
tell('retrying', again)
tell('pending', back)
if count > 0 then
  leave_token()
end
return count
