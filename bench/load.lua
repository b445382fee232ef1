-- wrk script: single events of 370 bytes with distinct ids over four streams. The same against Cupel and against bare libmicrohttpd.
-- usage: wrk … -s load.lua URL -- TOKEN RUN      RUN keeps the ids of one run apart from those of another

local threads = 0

function setup(thread)
   thread:set("thread_number", threads)
   threads = threads + 1
end

local format, random = string.format, math.random
local streams = { "bench_a", "bench_b", "bench_c", "bench_d" }
local requests = 0
local heads, length, run

function init(args)
   local token = args[1]
   run = args[2]
   math.randomseed(thread_number * 7919 + 17)
   local sample = "free shipping over fifty, returned by post, gift wrapped, second visit this week, came from the newsletter of the autumn collection, "
   tail = '","device_type":"mobile","browser":"Firefox 132","event_type":"page_view","note":"'
   local fixed = #format('{"event_id":"%s-%02d-%010d","session_id":"s%06d","user_id":%06d,"page":"/product/%05d%s', run, 0, 0, 0, 100000, 0, tail)
   note = (sample .. sample .. sample):sub(1, 370 - fixed - 2) .. '"}'
   heads = {}
   for i, stream in ipairs(streams) do
      heads[i] = "POST /v1/streams/" .. stream .. " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " .. token
         .. "\r\nContent-Type: application/json\r\nContent-Length: 370\r\n\r\n"
   end
end

function request()
   requests = requests + 1
   return heads[requests % 4 + 1] .. format('{"event_id":"%s-%02d-%010d","session_id":"s%06d","user_id":%06d,"page":"/product/%05d%s', run, thread_number, requests,
      random(0, 49999), random(100000, 999999), random(0, 19999), tail) .. note
end

function done(summary, latency, _)
   io.write(format('RESULT {"requests":%d,"seconds":%.6f,"errors":%d,"not_2xx":%d,"p50_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f}\n', summary.requests, summary.duration / 1e6,
      summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout, summary.errors.status, latency:percentile(50) / 1e3,
      latency:percentile(99) / 1e3, latency.max / 1e3))
end
