// Reads and writes CloudEvents in Kafka records with the CloudEvents SDK for JavaScript.
//
// The first argument is `read` or `write`, the second is the folder with `node_modules`. Standard
// input and output are JSON lines; `tests/cloudevents/sdks.py` describes them.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [command, packages] = process.argv.slice(2);
const { CloudEvent, Kafka } = createRequire(`${packages}/package.json`)("cloudevents");

const bytes = (text) => (text === null ? null : Buffer.from(text, "base64"));
const base64 = (content) => (content == null ? null : Buffer.from(content).toString("base64"));

/** Returns the attributes and the data of the event in a record. */
function read({ key, value, headers }) {
  const message = {
    key: bytes(key)?.toString(),
    value: bytes(value),
    headers: Object.fromEntries(headers.map(([name, content]) => [name, bytes(content)?.toString()])),
  };
  if (!Kafka.isEvent(message)) {
    throw new Error("the SDK detects no event");
  }
  const event = Kafka.toEvent(message);
  event.validate();
  const { data, ...attributes } = JSON.parse(JSON.stringify(event));
  return { attributes, data };
}

/** Returns a record with an event that has these attributes and this data. */
function write({ mode, attributes, data, form }) {
  const content = bytes(data);
  const forms = {
    object: () => JSON.parse(content),
    text: () => content.toString(),
    bytes: () => content,
  };
  const message = Kafka[mode](new CloudEvent({ ...attributes, data: forms[form]() }));
  // In binary mode the SDK leaves the serialization of an object to the program.
  const isText = typeof message.value === "string" || Buffer.isBuffer(message.value);
  return {
    key: base64(message.key),
    value: base64(isText ? message.value : JSON.stringify(message.value)),
    // Clients write a header without a value for an attribute that is undefined.
    headers: Object.entries(message.headers).map(([name, content]) => [name, base64(content)]),
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify((command === "read" ? read : write)(JSON.parse(line))));
}
