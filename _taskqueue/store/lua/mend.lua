-- Give tasks in no state one again: no move of a task, since there is no state that it comes from.
-- keys:  leases, records, pending
-- args:  head_start_ms:number, ...
-- rest:  per task: id, state = pending, succeeded or dead, priority
-- uses:  sound, check, drain, now, wake, tell, tally, find, fail, finish
-- gives: how many
local count, back = 0, {}
for i = rest + 1, #ARGV, 3 do
  local id, state = ARGV[i], ARGV[i + 1]
  if redis.call('HEXISTS', records, id) == 1 and not find(id) then
    if state == 'pending' then
      redis.call('ZADD', pending, string.format('%.0f', now - ARGV[i + 2] * head_start_ms), id)
      back[#back + 1] = id
    else
      finish(state, {id}, function() end)
    end
    count = count + 1
  end
end
if #back > 0 then
  tell('pending', back)
  leave_token()
end
return count
