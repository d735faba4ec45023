// Prints what the parser of AsyncAPI reports about each document, and which operations it found:
// one JSON line for each file.
// Usage: node check-asyncapi.mjs FILE…
import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const parser = new Parser();
for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await parser.parse(await readFile(file, "utf8"));
  const operations = document?.operations().all().map((operation) => ({
    action: operation.action(),
    topics: operation.channels().all().map((channel) => channel.address()),
    messages: operation.messages().all().map((message) => message.name()),
  }));
  const found = diagnostics.map(({ code, message, path }) => ({ code, message, path: path.join("/") }));
  console.log(JSON.stringify({ diagnostics: found, operations: operations ?? [] }));
}
