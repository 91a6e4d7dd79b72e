-- Cancel tasks: at once while they wait, by request while they run.
-- moves: scheduled, pending, retrying -> cancelled
-- keys:  leases, expiries, cancelling
-- args:  ...
-- rest:  ids
-- uses:  sound, check, drain, now, tell, tally, find, fail, finish
-- gives: per task the state it was in, or '' when it is unknown
local was, gone, from = {}, {}, {}
for i = rest + 1, #ARGV do
  local id = ARGV[i]
  local state, seen, index = find(id)
  was[#was + 1] = not from[id] and state or ''
  if state == 'running' then
    redis.call('HSET', cancelling, id, string.match(seen, '^(.-)|'))
  elseif state and not ends[state] and not from[id] then
    gone[#gone + 1] = id
    from[id] = index
  end
end
finish('cancelled', gone, function()
  for i = 1, #gone do
    redis.call('ZREM', from[gone[i]], gone[i])
    redis.call('ZREM', expiries, gone[i])
  end
end)
return was
