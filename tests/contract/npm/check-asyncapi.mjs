// Prints what the parser of AsyncAPI reports about a document, and what it read, as JSON.
// Usage: node check-asyncapi.mjs FILE
import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(await readFile(process.argv[2], "utf8"));
const report = diagnostics.map(({ code, message, path, severity }) => ({ code, message, path, severity }));
const operations = document?.operations().all().map((operation) => ({
  id: operation.id(),
  action: operation.action(),
  topics: operation.channels().all().map((channel) => channel.address()),
  messages: operation.messages().all().map((message) => message.id()),
}));
console.log(JSON.stringify({ diagnostics: report, operations }));
