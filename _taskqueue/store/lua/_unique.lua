-- Who keeps others from a unique key now, its state, and until when: the holder while it lives, or whatever it does, even
-- when it is forgotten, until its time is up.
-- keys:  uniques, unique_ends
local function holder_of(key)
  local held = redis.call('HGET', uniques, key)
  local until_ms = held and redis.call('ZSCORE', unique_ends, key)
  if not held or (until_ms and tonumber(until_ms) <= now) then
    return false
  end
  local id, mode = string.match(held, '^(.*)|(.)$')
  local state = find(id)
  if mode == 't' or (state and not ends[state]) then
    return id, state, until_ms
  end
  return false
end
