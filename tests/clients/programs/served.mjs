// Runs beside a client for Node: cases come in over standard input, a line of JSON each, and so go results.
import { createInterface } from "node:readline";

export async function serve(cases) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { case: name, arguments: given } = JSON.parse(line);
    let answer;
    try {
      answer = { result: (await cases[name](given)) ?? null };
    } catch (error) {
      answer = { failure: String(error?.stack ?? error) };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
}
