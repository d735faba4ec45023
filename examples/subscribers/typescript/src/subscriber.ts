// Reads checkpoint ready events and prints one JSON line for each event. If WEBHOOK_URL is set, it
// also sends each event to this address.
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { KafkaJS } from '@confluentinc/kafka-javascript'
import { decode, type ReadyEvent } from './event.js'
import { logger } from './logger.js'
import { RecentIds } from './recentIds.js'
import { readSecurityOptions } from './securityOptions.js'
import { Webhook } from './webhook.js'

const CONNECT_TIMEOUT_MS = 10_000

// The service writes the events of a transaction to the log before it commits. If the service
// crashes, these events stay in the log as aborted, and they are published again later. A
// read_committed consumer does not see them. It is the default of this client. The program sets it
// because it is not the default of other clients.
const isolationOptions = new Map<string, { readUncommitted?: boolean }>([
  ['read_committed', { readUncommitted: false }],
  ['read_uncommitted', { readUncommitted: true }],
  ['client_default', {}],
])

class Subscriber {
  readonly #servers = environment('BOOTSTRAP_SERVERS', 'localhost:9092')
  readonly #topic = environment('TOPIC', 'fine-tuning.checkpoint-ready')
  readonly #webhook = Webhook.from(process.env['WEBHOOK_URL'], process.env['WEBHOOK_SECRET_FILE'])
  readonly #handledIds = new RecentIds()
  readonly #everyCopy: boolean
  readonly #consumer: KafkaJS.Consumer
  readonly #stopping = new AbortController()
  #inHand: Promise<void> = Promise.resolve()
  #failure: unknown

  constructor(isolation: string, isolationOption: { readUncommitted?: boolean }) {
    this.#everyCopy = isolation !== 'read_committed'
    const kafka = new KafkaJS.Kafka({ kafkaJS: { brokers: this.#servers.split(','), logger } })
    this.#consumer = kafka.consumer({
      ...readSecurityOptions(process.env['KAFKA_PROPERTIES_FILE']),
      kafkaJS: {
        ...isolationOption,
        groupId: environment('GROUP_ID', 'model-registry-typescript'),
        fromBeginning: true,
        allowAutoTopicCreation: false,
        autoCommit: false, // commits are made after the handling
        maxWaitTimeInMs: 20, // a longer wait can delay an event of another partition
      },
    })
  }

  /** Runs until SIGTERM, SIGINT or an error. It finishes and commits the event in hand. */
  async run(): Promise<void> {
    const stopped = once(this.#stopping.signal, 'abort')
    process.once('SIGTERM', () => this.#stopping.abort())
    process.once('SIGINT', () => this.#stopping.abort())
    await this.#connect()
    await this.#checkTopic()
    await this.#consumer.subscribe({ topics: [this.#topic] })
    await this.#consumer.run({
      eachMessage: ({ partition, message }) => {
        // After the stop the client delivers until it is disconnected. Nothing is handled then.
        if (!this.#stopping.signal.aborted) this.#inHand = this.#next(partition, message)
        return this.#inHand
      },
    })
    await stopped
    await this.#inHand
    await this.#consumer.disconnect() // leaves the group
    if (this.#failure !== undefined) throw this.#failure
  }

  async #connect(): Promise<void> {
    const timeout = wait(CONNECT_TIMEOUT_MS, undefined, { ref: false }).then(() => {
      throw new Error(`no connection to ${this.#servers} within ${CONNECT_TIMEOUT_MS} ms: the lines above say why`)
    })
    await Promise.race([this.#consumer.connect(), timeout])
  }

  /** Fails if the topic does not exist: the client would only wait for it. */
  async #checkTopic(): Promise<void> {
    const admin = this.#consumer.dependentAdmin()
    await admin.connect()
    try {
      await admin.fetchTopicMetadata({ topics: [this.#topic], timeout: CONNECT_TIMEOUT_MS })
    } catch (error) {
      throw new Error(`the topic ${this.#topic} cannot be read at ${this.#servers}: ${textOf(error)}`)
    } finally {
      await admin.disconnect()
    }
  }

  /** Handles and commits a message. If this fails, Kafka delivers it again after a restart. */
  async #next(partition: number, message: KafkaJS.KafkaMessage): Promise<void> {
    try {
      await this.#handle(partition, message)
      const offset = (BigInt(message.offset) + 1n).toString()
      await this.#consumer.commitOffsets([{ topic: this.#topic, partition, offset }])
    } catch (error) {
      if (error instanceof Error && error.name === 'AbortError') {
        logger.warn('stopped before the webhook was accepted: the event in hand is not committed')
        return
      }
      this.#failure = error
      this.#stopping.abort()
    }
  }

  /**
   * Handles an event. It is idempotent by id, because Kafka delivers an event again if the program
   * ends before the commit. The ids in memory cover one process. Your own handler keeps them with
   * its results, for example as a unique key in its database.
   */
  async #handle(partition: number, message: KafkaJS.KafkaMessage): Promise<void> {
    let event: ReadyEvent | undefined
    try {
      event = decode(partition, message)
    } catch (error) {
      logger.warn(`skipped the record at ${partition}:${message.offset}: ${textOf(error)}`)
    }
    if (event === undefined || (!this.#everyCopy && this.#handledIds.has(event.id))) return
    await this.#webhook?.send(event, this.#stopping.signal)
    this.#handledIds.add(event.id)
    await print(event.line)
  }
}

function environment(name: string, otherwise: string): string {
  return process.env[name] || otherwise
}

/** Waits until the line is written, so that no event is committed whose line is lost. */
function print(line: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(`${line}\n`, (error) => {
      if (error) reject(new Error(`standard output failed: ${error.message}`))
      else resolve()
    })
  })
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

process.stdout.on('error', () => undefined) // print also gets the error
const isolation = environment('ISOLATION_LEVEL', 'read_committed')
const isolationOption = isolationOptions.get(isolation)
if (isolationOption === undefined) {
  console.error(`ISOLATION_LEVEL must be read_committed or read_uncommitted, not ${isolation}`)
  process.exit(2)
}
try {
  await new Subscriber(isolation, isolationOption).run()
} catch (error) {
  console.error(textOf(error))
  process.exit(1)
}
