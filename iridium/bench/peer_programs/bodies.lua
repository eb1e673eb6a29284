-- The five workloads in Lua, for Lua 5.4 and LuaJIT. Usage: lua bodies.lua WORKLOAD PARAMETER...
-- Prints the seconds of processor time that the work took, and its result.

local work = {}

function work.count(n)
  local i = 0
  repeat i = i + 1 until i == n
  return i
end

if jit then -- numbers are doubles, and 32-bit arithmetic is in a library that the compiler knows
  local bit = require("bit")
  local tobit, band, bxor, lshift, rshift = bit.tobit, bit.band, bit.bxor, bit.lshift, bit.rshift
  function work.lcg(outer, inner)
    local x, sum = 42, 0
    for _ = 1, outer do
      for _ = 1, inner do
        x = tobit(x * 69069 + 12345)
        sum = tobit(lshift(bxor(sum, band(rshift(x, 16), 0x7fff)), 1) + x)
      end
    end
    return sum
  end
else -- LuaJIT does not know these operators, so they stand in a string
  work.lcg = load [[
    local outer, inner = ...
    local x, sum = 42, 0
    for _ = 1, outer do
      for _ = 1, inner do
        x = (x * 69069 + 12345) & 0xffffffff
        sum = (((sum ~ ((x >> 16) & 0x7fff)) << 1) + x) & 0xffffffff
      end
    end
    return sum < 0x80000000 and sum or sum - 0x100000000
  ]]
end

local function fib(n)
  if n < 2 then return n end
  return fib(n - 1) + fib(n - 2)
end
work.fib = fib

function work.mandelbrot(width, height, limit)
  local across, down = 3.0 / width, 3.0 / height
  local total, ci = 0, -1.5
  for _ = 1, height do
    local cr = -2.0
    for _ = 1, width do
      local zr, zi, steps = 0.0, 0.0, 0
      while steps ~= limit do
        local rr, ii = zr * zr, zi * zi
        if rr + ii > 4.0 then break end
        zi = zr * zi
        zi = zi + zi + ci
        zr = rr - ii + cr
        steps = steps + 1
      end
      total = total + steps
      cr = cr + across
    end
    ci = ci + down
  end
  return total
end

function work.sieve(n, rounds)
  local cells, primes, marks = {}, 0, 0
  for _ = 1, rounds do
    for i = 0, n - 1 do cells[i] = 0 end
    local i = 2
    while i * i < n do
      if cells[i] == 0 then
        for j = i * i, n - 1, i do
          cells[j] = 1
          marks = marks + 1
        end
      end
      i = i + 1
    end
    primes = 0
    for k = 2, n - 1 do
      if cells[k] == 0 then primes = primes + 1 end
    end
  end
  return primes, marks
end

local parameters = {}
for index = 2, #arg do parameters[#parameters + 1] = tonumber(arg[index]) end
local start = os.clock()
local result, marks = work[arg[1]]((table.unpack or unpack)(parameters))
local took = os.clock() - start
print(string.format(marks and "%.9f %d %d" or "%.9f %d", took, result, marks))
