// A mock of the providers, with a scripted model: POST /v1/chat/completions, /v1/responses, /v1/messages, Gemini.
import { createRequire } from "node:module";

const { LLMock } = createRequire(process.argv[3] + "/")("@copilotkit/aimock");
const mock = new LLMock({ port: Number(process.argv[2]), host: "127.0.0.1" });
const words = ["one ", "two ", "three ", "four ", "five ", "six ", "seven ", "eight ", "nine ", "ten "];
const answer = (count) => Array.from({ length: count }, (_, number) => words[number % words.length]).join("");
mock.onMessage(/^fail/, { error: { message: "the model fails at once", type: "server_error" }, status: 500 });
mock.onMessage(/^slow/, { content: answer(60) }, { latency: 50, chunkSize: 5 });
mock.onMessage(/./, { content: answer(10) }, { latency: 20, chunkSize: 5 });
await mock.start();
console.log(mock.url);
