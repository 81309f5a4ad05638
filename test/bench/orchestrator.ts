import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

// The orchestrator's stand-in in its own process: reads the request and returns a fixed reply at once.

const ANSWER = JSON.stringify({
  text: "Your order left the house this morning.",
  token_usage: { prompt_tokens: 120, completion_tokens: 12 },
});

const server = createServer((request, response) => {
  request.resume().on("end", () => {
    response.writeHead(200, { "Content-Type": "application/json", "Content-Length": ANSWER.length }).end(ANSWER);
  });
});
server.keepAliveTimeout = 600_000;
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
process.on("disconnect", () => process.exit(0));
