// The Vercel AI SDK with its provider for OpenAI-compatible servers.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { serve } from "./served.mjs";

const provider = createOpenAICompatible({ name: "claude", baseURL: process.env.OPENAI_BASE_URL, apiKey: "not-used" });
const structured = createOpenAICompatible({
  name: "claude",
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: "not-used",
  supportsStructuredOutputs: true,
});
const model = provider("sonnet");
const City = z.object({ name: z.string(), country: z.string(), twins: z.array(z.string()) });
const getWeather = tool({
  description: "The weather in a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `21 degrees in ${city}`,
});
const look = tool({
  description: "Looks behind a door",
  inputSchema: z.object({ number: z.number() }),
  execute: async ({ number }) => `saw ${number}`,
});
const withTools = { tools: { get_weather: getWeather }, stopWhen: stepCountIs(5) };
const seen = (steps) => ({
  calls: steps.flatMap((step) => step.toolCalls.map(({ toolName, input }) => [toolName, input])),
  results: steps.flatMap((step) => step.toolResults.map(({ output }) => output)),
});

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

async function reasoning({ prompt }) {
  const { text, reasoningText } = await generateText({ model, prompt, maxRetries: 0 });
  const streamed = streamText({ model, prompt, maxRetries: 0 });
  const again = { text: await streamed.text, reasoning: await streamed.reasoningText };
  return { whole: { text, reasoning: reasoningText }, streamed: again };
}

async function see({ prompt, image }) {
  const content = [{ type: "text", text: prompt }, { type: "file", mediaType: "image/png", data: image }];
  return { text: (await generateText({ model, messages: [{ role: "user", content }], maxRetries: 0 })).text };
}

async function tools({ prompt }) {
  const { text, steps } = await generateText({ model, prompt, ...withTools, maxRetries: 0 });
  return { text, ...seen(steps) };
}

async function toolsStreamed({ prompt }) {
  const answer = streamText({ model, prompt, ...withTools, maxRetries: 0 });
  return { text: await answer.text, ...seen(await answer.steps) };
}

async function loop({ prompt, stream }) {
  const settings = { model, instructions: "Be brief.", prompt, tools: { look }, stopWhen: stepCountIs(50), maxRetries: 0 };
  return { text: stream ? await streamText(settings).text : (await generateText(settings)).text };
}

async function object({ prompt, schema }) {
  const chosen = schema ? structured("sonnet") : model;
  return (await generateObject({ model: chosen, schema: City, prompt, maxRetries: 0 })).object;
}

// Today's way to the same.
async function outputStreamed({ prompt }) {
  const output = Output.object({ schema: City });
  const answer = streamText({ model: structured("sonnet"), output, prompt, maxRetries: 0 });
  const grown = [];
  for await (const part of answer.partialOutputStream) grown.push(part);
  return { output: await answer.output, grown };
}

await serve({
  generate,
  stream,
  reasoning,
  see,
  tools,
  tools_streamed: toolsStreamed,
  loop,
  object,
  output_streamed: outputStreamed,
});
