-- Delete tasks that do not run, with everything that hangs on them.
-- moves: scheduled, pending, retrying, succeeded, dead, cancelled, expired -> gone
-- keys:  leases
-- args:  ...
-- rest:  ids
-- uses:  drain, now, tell, tally, find, fail, finish, forget
-- gives: per task the state it was in, or '' when it is unknown; running ones stay
local was, gone = {}, {}
for i = rest + 1, #ARGV do
  local id = ARGV[i]
  local state, _, index = find(id)
  was[#was + 1] = state or ''
  if state and state ~= 'running' then
    redis.call('ZREM', index, id)
    if not ends[state] then
      count_in_batches({id}, 'removed', 1)
    end
    gone[#gone + 1] = id
  end
end
if #gone > 0 then
  tell('removed', gone)
  forget(gone)
end
return was
