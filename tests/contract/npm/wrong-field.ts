// Has two errors: it reads a field that a ready event does not have, and one that may be absent.
import type { ReadyEvent } from "./ready-event.js";

export function losses(event: ReadyEvent): number[] {
  return [event.data.evaluation.accuracy, event.data.evaluation.loss];
}
