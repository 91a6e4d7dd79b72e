-- Change the settings of a queue; an empty value takes one away. At maxmemory too: a full queue can be paused.
-- keys:  leases, settings
-- args:  ...
-- rest:  name, value, …
-- uses:  drain, now, wake
-- gives: all settings as name, value, …
for i = rest + 1, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', settings, ARGV[i])
  else
    redis.call('HSET', settings, ARGV[i], ARGV[i + 1])
  end
end
leave_token()
return redis.call('HGETALL', settings)
