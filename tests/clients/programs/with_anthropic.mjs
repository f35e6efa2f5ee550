// Anthropic's SDK for Node: whole, streamed and parsed, the tool runner, counts, models, and failures.
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";
import { serve } from "./served.mjs";

const client = new Anthropic({ maxRetries: 0 });
const City = z.object({ name: z.string(), country: z.string(), twins: z.array(z.string()) });
const base = { model: "sonnet", max_tokens: 4000 };

const getWeather = betaZodTool({
  name: "get_weather",
  description: "The weather in a city.",
  inputSchema: z.object({ city: z.string() }),
  run: ({ city }) => `21 degrees in ${city}`,
});

await serve({
  create: (options) => client.messages.create({ ...base, ...options }),
  streamed: async (options) => {
    const texts = [];
    const stream = client.messages.stream({ ...base, ...options }).on("text", (text) => texts.push(text));
    return { texts, answer: await stream.finalMessage() };
  },
  parse: async ({ messages }) => {
    const format = zodOutputFormat(City);
    const answer = await client.messages.parse({ ...base, messages, output_config: { format } });
    return { city: answer.parsed_output };
  },
  tool_runner: async ({ prompt }) => {
    const messages = [{ role: "user", content: prompt }];
    const runner = client.beta.messages.toolRunner({ ...base, tools: [getWeather], messages });
    return { text: (await runner.runUntilDone()).content.at(-1).text };
  },
  count: async ({ messages }) => (await client.messages.countTokens({ model: "sonnet", messages })).input_tokens,
  models: async () => {
    const listed = [];
    for await (const model of client.models.list()) listed.push(model.id);
    return { listed, one: (await client.models.retrieve("haiku")).id };
  },
  failure: async ({ messages, stream }) => {
    const began = Date.now();
    const retrying = new Anthropic({ maxRetries: 2 });
    try {
      if (stream) await retrying.messages.stream({ ...base, messages }).finalMessage();
      else await retrying.messages.create({ ...base, messages });
    } catch (error) {
      const { status, message, requestID } = error;
      const seconds = (Date.now() - began) / 1000;
      return { type: error.constructor.name, status, message, request_id: requestID, seconds };
    }
    return { type: null };
  },
});
