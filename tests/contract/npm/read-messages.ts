// Reads messages with the generated types, and prints what it read as JSON lines.
// Usage: node read-messages.js FILE
import { readFileSync } from "node:fs";
import type { Checkpoint, ReadyData, ReadyEvent } from "./ready-event.js";
import type { ReadyEventHeaders } from "./ready-event-headers.js";
import type { DeadLetterHeaders, Reason } from "./dead-letter-headers.js";

type Message =
  | { kind: "ready-event"; value: ReadyEvent }
  | { kind: "ready-event-binary"; headers: ReadyEventHeaders; value: ReadyData }
  | { kind: "dead-letter"; headers: DeadLetterHeaders };

function summary(id: string, source: string, data: ReadyData): object {
  const checkpoint: Checkpoint = data.checkpoint;
  const loss: number | null = data.evaluation.loss ?? null;
  const provider: string = data.model.provider;
  return {
    id,
    source,
    provider,
    loss,
    step: checkpoint.step_number,
    uri: checkpoint.uri ?? null,
    trainLoss: checkpoint.metrics.train_loss ?? null,
    offset: data.origin.offset,
  };
}

function read(message: Message): object {
  switch (message.kind) {
    case "ready-event":
      return { ...summary(message.value.id, message.value.source, message.value.data), replay: message.value.replayid ?? null };
    case "ready-event-binary":
      return { ...summary(message.headers.ce_id, message.headers.ce_source, message.value), replay: null };
    case "dead-letter": {
      const reason: Reason = message.headers["checkpoint-ready.reason"];
      return { reason, offset: Number(message.headers["__connect.errors.offset"]) };
    }
  }
}

for (const line of readFileSync(process.argv[2]!, "utf8").split("\n").filter(Boolean)) {
  console.log(JSON.stringify(read(JSON.parse(line) as Message)));
}
