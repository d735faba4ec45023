import { CloudEvent, Kafka } from 'cloudevents'
import type { KafkaJS } from '@confluentinc/kafka-javascript'

const READY_TYPE = 'fine_tuning.job.checkpoint.ready'

/** The members that this program uses. An event has more, and a later version may add some. */
interface ReadyData {
  checkpoint?: { fine_tuning_job_id: string; fine_tuned_model_checkpoint: string; step_number: number }
  evaluation?: { loss?: number }
}

export interface ReadyEvent {
  id: string
  /** The event as JSON in structured mode. */
  body: string
  /** What the program prints. */
  line: string
}

/**
 * Returns the ready event of a record in structured or in binary mode, and undefined for an event
 * of another type.
 *
 * @throws if the record is not a CloudEvent, or is a ready event without a checkpoint.
 */
export function decode(partition: number, message: KafkaJS.KafkaMessage): ReadyEvent | undefined {
  const event = toCloudEvent(message)
  if (event.type !== READY_TYPE) return undefined
  if (/\p{Surrogate}/u.test(event.id)) throw new Error('the id is not valid Unicode')
  const { checkpoint, evaluation } = event.data ?? {}
  if (checkpoint === undefined) throw new Error('the data has no checkpoint')
  const replayId = event['replayid'] // only an event that was published again has it
  const line = {
    id: event.id,
    job: checkpoint.fine_tuning_job_id,
    step: checkpoint.step_number,
    model: checkpoint.fine_tuned_model_checkpoint,
    loss: evaluation?.loss ?? null, // null: it is not known
    partition,
    offset: Number(message.offset),
    ...(replayId === undefined ? {} : { replayid: replayId }),
  }
  return { id: event.id, body: JSON.stringify(event), line: JSON.stringify(line) }
}

function toCloudEvent(message: KafkaJS.KafkaMessage): CloudEvent<ReadyData> {
  // The SDK needs text, and the client delivers headers as bytes or lists of bytes.
  const headers: Record<string, string> = {}
  for (const [name, values] of Object.entries(message.headers ?? {})) {
    const value = Array.isArray(values) ? values[0] : values
    if (value !== undefined && value !== null) headers[name] = value.toString()
  }
  const value = message.value?.toString()
  const key = message.key?.toString() ?? ''
  const decoded = Kafka.toEvent<ReadyData>({ headers, value, key, body: value } as Parameters<typeof Kafka.toEvent>[0])
  if (Array.isArray(decoded)) throw new Error('it is a batch of CloudEvents')
  const event = new CloudEvent<ReadyData>(decoded, false)
  event.validate()
  return event
}
