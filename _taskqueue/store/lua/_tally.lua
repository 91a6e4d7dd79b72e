-- Counts by minute and series, for charts and rates; `trim` rolls old minutes up into hours. No task fails for a count.
-- keys:  stats
local function tally(series, count)
  if count > 0 then
    redis.pcall('HINCRBY', stats, 'm' .. math.floor(now / 60000) .. ':' .. series, count)
  end
end
