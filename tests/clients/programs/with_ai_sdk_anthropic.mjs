// Vercel's AI SDK with @ai-sdk/anthropic, whose base URL has /v1.
import { createAnthropic } from "@ai-sdk/anthropic";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { serve } from "./served.mjs";

const baseURL = `${process.env.ANTHROPIC_BASE_URL}/v1`;
const anthropic = createAnthropic({ baseURL, apiKey: "not-used" });
const model = anthropic("claude-sonnet-4-5");
const City = z.object({ name: z.string(), country: z.string(), twins: z.array(z.string()) });
const tools = {
  get_weather: tool({
    description: "The weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `21 degrees in ${city}`,
  }),
};
const usual = { model, maxRetries: 0, stopWhen: stepCountIs(5) };

await serve({
  generate: async (options) => {
    const { text, usage } = await generateText({ ...usual, ...options });
    return { text, usage };
  },
  streamed: async (options) => {
    const result = streamText({ ...usual, ...options, onError: () => {} });
    const texts = [];
    const kinds = [];
    for await (const part of result.fullStream) {
      kinds.push(part.type);
      if (part.type === "text-delta") texts.push(part.text);
    }
    return { texts, kinds };
  },
  tools: async ({ prompt, stream }) => {
    if (!stream) return { text: (await generateText({ ...usual, tools, prompt })).text };
    const result = streamText({ ...usual, tools, prompt });
    return { text: await result.text };
  },
  object: async ({ prompt }) => {
    const { output } = await generateText({ ...usual, prompt, output: Output.object({ schema: City }) });
    return { city: output };
  },
});
