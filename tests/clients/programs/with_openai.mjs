// The openai SDK for Node: whole and streamed.
import OpenAI from "openai";
import { serve } from "./served.mjs";

const client = new OpenAI({ maxRetries: 0 });

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

await serve({ create, pieces, streamed, error, models });
