/** Documents and tasks in JSON Lines and JSON lists. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { readTask } from "../../../src/evaluate/task_file.ts";
import { readText } from "../../../src/io/texts/texts.ts";
import type { FuzzTarget } from "../harness.ts";
import { damaged, jsonBytes, tamperedJson } from "../mutate.ts";

const documents = tamperedJson(fc.constant([{ text: "one" }, { content: "two\nlines" }, { text: "drei ü" }]));
const lines = documents.map((value): Uint8Array => {
  const list = Array.isArray(value) ? value : [value];
  return Buffer.from(Array.from(list, (document) => JSON.stringify(document)).join("\n"));
});
const tasks = tamperedJson(
  fc.constantFrom<unknown>(
    { query: "Q", choices: ["a", "b"], gold: 1 },
    { contexts: ["A", "B"], continuation: "c", gold: 0 },
  ),
);

export const textsTarget: FuzzTarget = {
  name: "texts",
  share: 2,
  files: fc.oneof(
    damaged(lines).map((bytes) => ({ "a.jsonl": bytes })),
    damaged(documents.map(jsonBytes)).map((bytes) => ({ "b.json": bytes })),
    damaged(tasks.map(jsonBytes)).map((bytes) => ({ "c.jsonl": bytes })),
  ),
  open: async (directory) => {
    for (const name of readdirSync(directory)) {
      const path = join(directory, name);
      await (name === "c.jsonl" ? readTask(path, 10) : readText(path, 1000));
    }
    return undefined;
  },
};
