-- One token, on which an idle worker's connection blocks. It is no task, so losing it costs nothing.
-- keys:  wake
local function leave_token()
  if redis.pcall('LLEN', wake) == 0 then
    redis.pcall('RPUSH', wake, 1)
  end
end
