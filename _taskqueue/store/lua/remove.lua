-- Delete tasks that do not run, with everything that hangs on them.
-- moves: scheduled, pending, retrying, succeeded, dead, cancelled, expired -> gone
-- keys:  leases
-- args:  ...
-- rest:  ids
-- uses:  sound, check, drain, now, tell, tally, find, fail, finish, forget
-- gives: per task the state it was in, or '' when it is unknown; running ones stay
local was, gone, from = {}, {}, {}
for i = rest + 1, #ARGV do
  local id = ARGV[i]
  local state, _, index = find(id)
  was[#was + 1] = not from[id] and state or ''
  if state and state ~= 'running' and not from[id] then
    gone[#gone + 1] = id
    from[id] = index
    if not ends[state] then
      count_in_batches({id}, 'removed', 1)
    end
  end
end
if #gone > 0 then
  forget(gone)
  for i = 1, #gone do
    redis.call('ZREM', from[gone[i]], gone[i])
  end
  tell('removed', gone)
end
return was
