// The openai SDK for Node: whole, streamed, parsed, and its tool runner.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { serve } from "./served.mjs";

const client = new OpenAI({ maxRetries: 0 });
const City = z.object({ name: z.string(), country: z.string(), twins: z.array(z.string()) });

const create = (given) => client.chat.completions.create({ model: "sonnet", ...given });

async function pieces(given) {
  const texts = [];
  let usage = null;
  for await (const chunk of await create({ stream: true, ...given })) {
    for (const choice of chunk.choices) if (choice.delta.content) texts.push(choice.delta.content);
    usage = chunk.usage ?? usage;
  }
  return { texts, usage };
}

async function streamed(given) {
  const events = [];
  const stream = client.chat.completions.stream({ model: "sonnet", ...given });
  for (const name of ["content.delta", "content.done", "tool_calls.function.arguments.done"])
    stream.on(name, () => events.push(name));
  return { answer: await stream.finalChatCompletion(), events };
}

const asked = { model: "sonnet", response_format: zodResponseFormat(City, "city") };

async function parse(given) {
  const answer = await client.chat.completions.parse({ ...asked, ...given });
  return { city: answer.choices[0].message.parsed };
}

async function parseStreamed(given) {
  const answer = await client.chat.completions.stream({ ...asked, ...given }).finalChatCompletion();
  return { city: answer.choices[0].message.parsed };
}

async function tools({ messages, stream }) {
  const calls = [];
  const weather = {
    name: "get_weather",
    description: "The weather in a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    parse: JSON.parse,
    function: (given) => {
      calls.push(["get_weather", given]);
      return `21 degrees in ${given.city}`;
    },
  };
  const given = { model: "sonnet", messages, stream, tools: [{ type: "function", function: weather }] };
  return { text: await client.chat.completions.runTools(given).finalContent(), calls };
}

async function error(given) {
  try {
    await create(given);
  } catch (raised) {
    return { kind: raised.constructor.name, code: raised.code, param: raised.param };
  }
}

async function models() {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  return ids;
}

await serve({ create, pieces, streamed, parse, parse_streamed: parseStreamed, tools, error, models });
