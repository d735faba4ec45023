import { KafkaJS } from '@confluentinc/kafka-javascript'

/** Writes the client's warnings to standard error. Its own logger also uses standard output. */
export const logger: KafkaJS.Logger = {
  error: (message) => console.error(message),
  warn: (message) => console.error(message),
  info: () => undefined,
  debug: () => undefined,
  namespace: () => logger,
  setLogLevel: () => undefined,
}
