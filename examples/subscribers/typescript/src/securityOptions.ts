import { readFileSync } from 'node:fs'

/** The client prefers these options to those of the program, so no others are allowed. */
const ALLOWED_NAMES = /^(security|sasl|ssl)\./

/**
 * Returns the options of librdkafka for TLS and SASL in a properties file. Without a file there are
 * none.
 *
 * @throws if the file cannot be read, a line is not name=value, or it is another option. The message
 * has no value.
 */
export function readSecurityOptions(file: string | undefined): Record<string, string> {
  const properties: Record<string, string> = {}
  if (!file) return properties
  for (const [index, text] of readFileSync(file, 'utf8').split('\n').entries()) {
    const line = text.trim()
    if (line === '' || line.startsWith('#')) continue
    const separator = line.indexOf('=')
    if (separator < 1) throw new Error(`${file}: line ${index + 1} is not name=value`)
    const name = line.slice(0, separator).trim()
    if (!ALLOWED_NAMES.test(name)) throw new Error(`${file}: ${name} is no option for TLS or SASL`)
    properties[name] = line.slice(separator + 1).trim()
  }
  return properties
}
