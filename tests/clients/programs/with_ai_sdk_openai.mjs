// The Vercel AI SDK with OpenAI's own provider, which asks /v1/responses.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { serve } from "./served.mjs";

const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: "not-used" });
const model = openai("sonnet");
const City = z.object({ name: z.string(), country: z.string(), twins: z.array(z.string()) });
const getWeather = tool({
  description: "The weather in a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `21 degrees in ${city}`,
});
const withTools = { tools: { get_weather: getWeather }, stopWhen: stepCountIs(5), maxRetries: 0 };
const calls = (steps) => steps.flatMap((step) => step.toolCalls.map(({ toolName, input }) => [toolName, input]));

async function tools({ prompt, stored }) {
  const options = stored ? {} : { store: false, include: ["reasoning.encrypted_content"] };
  const { text, steps } = await generateText({ model, prompt, ...withTools, providerOptions: { openai: options } });
  return { text, calls: calls(steps) };
}

async function toolsStreamed({ prompt }) {
  const answer = streamText({ model, prompt, ...withTools });
  return { text: await answer.text, calls: calls(await answer.steps) };
}

// The second turn names the items of the first one by their ids.
async function secondTurn({ prompt, more }) {
  const first = await generateText({ model, prompt, maxRetries: 0 });
  const messages = [
    { role: "user", content: prompt },
    ...first.response.messages,
    { role: "user", content: more },
  ];
  return { text: (await generateText({ model, messages, maxRetries: 0 })).text };
}

async function object({ prompt }) {
  const output = Output.object({ schema: City });
  return (await generateText({ model, output, prompt, maxRetries: 0 })).output;
}

async function completion({ prompt }) {
  return { text: (await generateText({ model: openai.completion("sonnet"), prompt, maxRetries: 0 })).text };
}

await serve({ tools, tools_streamed: toolsStreamed, second_turn: secondTurn, object, completion });
