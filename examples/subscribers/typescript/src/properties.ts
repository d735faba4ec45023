import { readFileSync } from 'node:fs'

/**
 * Returns the options of librdkafka in a properties file, for example for TLS and SASL. Without a
 * file there are none.
 *
 * @throws if the file cannot be read, or a line is not name=value. The message has no value.
 */
export function readProperties(file: string | undefined): Record<string, string> {
  const properties: Record<string, string> = {}
  if (!file) return properties
  for (const [index, text] of readFileSync(file, 'utf8').split('\n').entries()) {
    const line = text.trim()
    if (line === '' || line.startsWith('#')) continue
    const separator = line.indexOf('=')
    if (separator < 1) throw new Error(`${file}: line ${index + 1} is not name=value`)
    properties[line.slice(0, separator).trim()] = line.slice(separator + 1).trim()
  }
  return properties
}
