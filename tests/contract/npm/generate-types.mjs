// Writes TypeScript types for JSON Schemas: DIRECTORY/ready-event.json becomes ready-event.ts.
// Usage: node generate-types.mjs DIRECTORY NAME…
import { writeFile } from "node:fs/promises";
import { compileFromFile } from "json-schema-to-typescript";

const [directory, ...names] = process.argv.slice(2);
for (const name of names) {
  await writeFile(`${name}.ts`, await compileFromFile(`${directory}/${name}.json`, { bannerComment: "" }));
}
