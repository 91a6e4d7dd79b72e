-- Where a task stands: its state, its score there, and the index.
-- keys:  running, pending, unroutable, scheduled, retrying, succeeded, dead, cancelled, expired
local places = {
  {'pending', pending}, {'pending', unroutable}, {'scheduled', scheduled}, {'retrying', retrying},
  {'succeeded', succeeded}, {'dead', dead}, {'cancelled', cancelled}, {'expired', expired},
}
local function find(id)
  local claim = redis.call('HGET', running, id)
  if claim then
    return 'running', claim, running
  end
  for i = 1, #places do
    local score = redis.call('ZSCORE', places[i][2], id)
    if score then
      return places[i][1], score, places[i][2]
    end
  end
  return false
end
