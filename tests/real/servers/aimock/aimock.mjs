// A mock of the providers, with a scripted model: POST /v1/chat/completions, /v1/responses, /v1/messages, Gemini.
// As in model/script.py, the prompt's first word decides what the answer is.
import { createRequire } from "node:module";

const require = createRequire(process.argv[3] + "/");
const http = require("node:http");
const { createServer } = http;
// A proxy that reuses a connection while the mock closes it would answer 500.
http.createServer = (...given) => Object.assign(createServer(...given), { keepAliveTimeout: 600_000 });
const { LLMock } = require("@copilotkit/aimock");
const mock = new LLMock({ port: Number(process.argv[2]), host: "127.0.0.1" });
const words = ["one ", "two ", "three ", "four ", "five ", "six ", "seven ", "eight ", "nine ", "ten "];
const text = (count) => Array.from({ length: count }, (_, number) => words[number % words.length]).join("");
const piece = 5; // characters of a chunk
// What the mock does not count itself: one token for each chunk, under each provider's names.
const counted = (content, chunk, more) => {
  const tokens = Math.ceil(content.length / chunk);
  return { content, usage: { completion_tokens: tokens, output_tokens: tokens, candidatesTokenCount: tokens }, ...more };
};
const prompt = (request) => {
  const { content } = request.messages.filter(({ role }) => role === "user").at(-1);
  return typeof content === "string" ? content : content.map((part) => part.text ?? "").join("");
};
mock.onMessage(/^fail/, { error: { message: "the model fails at once", type: "server_error" }, status: 500 });
// The connection breaks in the middle: Gemini's API has no other way to fail there than its finish reason.
mock.onMessage(/^midfail/, counted(text(10), piece), { latency: 400, chunkSize: piece, truncateAfterChunks: 8 });
mock.onMessage(/^filtered/, counted(text(10), piece, { finishReason: "content_filter" }), { latency: 20, chunkSize: piece });
mock.onMessage(/^silent/, counted("", piece));
mock.onMessage(/^quiet/, counted(text(4), 10), { chunkSize: 10, streamingProfile: { ttft: 20, tps: 0.17 } });
// In one chunk: the mock cuts between the halves of a character beyond the Basic Multilingual Plane.
mock.onMessage(/^echo /, (request) => counted(prompt(request).slice("echo ".length), 1_000_000), { chunkSize: 1_000_000 });
mock.onMessage(/^slow/, counted(text(60), piece), { latency: 50, chunkSize: piece });
mock.onMessage(/./s, counted(text(10), piece), { latency: 20, chunkSize: piece });
await mock.start();
console.log(mock.url);
