-- Events for those who watch: written only while a watcher keeps the key `watched` alive, so that nobody else pays.
-- No task fails for an event.
-- keys:  watched, events
local listening
local function tell(what, ids)
  if #ids == 0 then
    return
  end
  if listening == nil then
    listening = redis.call('EXISTS', watched) == 1
  end
  if listening then
    local some = #ids > 200 and {unpack(ids, 1, 200)} or ids
    redis.pcall('XADD', events, 'MAXLEN', '~', 2000, '*', 'what', what, 'count', #ids, 'ids', table.concat(some, ' '))
  end
end
