-- Cancel tasks: at once while they wait, by request while they run.
-- moves: scheduled, pending, retrying -> cancelled
-- keys:  leases, expiries, cancelling
-- args:  ...
-- rest:  ids
-- uses:  drain, now, tell, tally, find, fail, finish
-- gives: per task the state it was in, or '' when it is unknown
local was, gone = {}, {}
for i = rest + 1, #ARGV do
  local id = ARGV[i]
  local state, seen, index = find(id)
  was[#was + 1] = state or ''
  if state == 'running' then
    redis.call('HSET', cancelling, id, string.match(seen, '^(.-)|'))
  elseif state and not ends[state] then
    redis.call('ZREM', index, id)
    redis.call('ZREM', expiries, id)
    gone[#gone + 1] = id
  end
end
finish('cancelled', gone)
return was
