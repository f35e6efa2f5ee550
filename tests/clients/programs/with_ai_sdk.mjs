// The Vercel AI SDK with its provider for OpenAI-compatible servers.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import { serve } from "./served.mjs";

const provider = createOpenAICompatible({ name: "claude", baseURL: process.env.OPENAI_BASE_URL, apiKey: "not-used" });
const model = provider("sonnet");

async function generate({ system, prompt }) {
  const { text, finishReason, usage } = await generateText({ model, instructions: system, prompt, maxRetries: 0 });
  return { text, finish: finishReason, usage };
}

async function stream({ prompt }) {
  const answer = streamText({ model, prompt, maxRetries: 0, onError: () => {} });
  const texts = [];
  for await (const text of answer.textStream) texts.push(text);
  return { texts, finish: await answer.finishReason };
}

await serve({ generate, stream });
