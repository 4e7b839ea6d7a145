-- wrk: GET or PUT /api/store/<key> over many keys. The environment says METHOD, PORTS (one per thread, in turn), PREFIX
-- and KEYS. A PUT writes a key that nobody wrote before; a GET reads a random one of the first KEYS.
local body = '{"customer":"alex","currency":"EUR","lines":[{"sku":"sku-42","quantity":2,"price_cents":1999}]}'
local ports, threads = {}, 0
for port in os.getenv("PORTS"):gmatch("%d+") do
  table.insert(ports, port)
end

function setup(thread)
  thread.addr = wrk.lookup(wrk.host, ports[threads % #ports + 1])[1]
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  put = os.getenv("METHOD") == "PUT"
  path = "/api/store/" .. os.getenv("PREFIX")
  keys = tonumber(os.getenv("KEYS"))
  headers = { ["Content-Type"] = "application/json" }
  written = 0
  math.randomseed(number + 1)
end

function request()
  if put then
    written = written + 1
    return wrk.format("PUT", path .. number .. "-" .. written, headers, body)
  end
  return wrk.format("GET", path .. math.random(0, keys - 1))
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"elapsed_us":%d,"p50_us":%d,"p99_us":%d,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
