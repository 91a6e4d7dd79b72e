-- Nothing is written while a key is of a foreign type: Redis undoes nothing of a script that fails half-way.
local wrong = sound()
if wrong then
  return wrong
end
