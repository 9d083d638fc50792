import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import type { TaskDocument } from "./task_documents.ts";
import { readTask } from "./task_file.ts";

/** Reads a task file of these lines; its directory is removed from `where` and from messages. */
async function readLines(lines: readonly unknown[], limit?: number): Promise<readonly TaskDocument[]> {
  const path = join(await temporaryDirectory(), "task.jsonl");
  const text = lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n");
  await writeFile(path, text);
  const documents = await readTask(path, limit).catch((error: Error) => {
    error.message = error.message.replaceAll(path, "PATH");
    throw error;
  });
  return documents.map((document) => ({ ...document, where: document.where.replace(path, "PATH") }));
}

const CHOICE = { query: "q", choices: ["a", "b"], gold: 0 };
const PARTIAL = { contexts: ["x", "y"], continuation: "z", gold: 1 };

describe("readTask", () => {
  test("reads multiple choice: a space and a choice after the query", async () => {
    const lines = [{ id: 7, query: "Two?\n", choices: ["ja 🙂", "no"], gold: 1, more: {} }, "\r", CHOICE];
    expect(await readLines(lines)).toEqual([
      {
        where: "PATH line 1",
        gold: 1,
        candidates: [
          { context: "Two?\n", delimiter: " ", answer: "ja 🙂" },
          { context: "Two?\n", delimiter: " ", answer: "no" },
        ],
      },
      expect.objectContaining({ where: "PATH line 3", gold: 0 }),
    ]);
  });

  test("reads partial evaluation: a space and the continuation after every context", async () => {
    expect(await readLines([PARTIAL])).toEqual([
      {
        where: "PATH line 1",
        gold: 1,
        candidates: [
          { context: "x", delimiter: " ", answer: "z" },
          { context: "y", delimiter: " ", answer: "z" },
        ],
      },
    ]);
  });

  test("stops at the limit, whatever follows", async () => {
    expect(await readLines([CHOICE, CHOICE, "no JSON"], 2)).toHaveLength(2);
    await expect(readLines([CHOICE, CHOICE, "no JSON"], 3)).rejects.toMatchObject({ code: "BAD_FILE" });
  });

  test.each([0, -1, 0.5, Number.NaN])("refuses the limit %d", async (limit) => {
    const refused = {
      code: "BAD_ARGUMENT",
      message: `limit: expected a whole number of at least 1, got ${limit}`,
    };
    await expect(readLines([CHOICE, CHOICE], limit)).rejects.toMatchObject(refused);
  });

  test.each<[string, readonly unknown[], string]>([
    ["no documents", ["", " "], "PATH: expected at least one record, got an empty file"],
    [
      "an unknown form",
      [{ title: "a" }],
      'PATH line 1: expected a document of a known layout, got {"title":"a"}',
    ],
    ["another form later", [CHOICE, PARTIAL], "PATH line 2: expected a text as query, got nothing"],
    ["no object later", [CHOICE, [1]], "PATH line 2: expected an object, got [1]"],
    [
      "a wrong choice",
      [CHOICE, "", { ...CHOICE, choices: ["a", 5] }],
      "PATH line 3: expected a text as choices.1, got 5",
    ],
    [
      "an empty choice",
      [{ ...CHOICE, choices: ["", "b"] }],
      'PATH line 1: expected a non-empty text as choices.0, got ""',
    ],
    [
      "a single choice",
      [{ ...CHOICE, choices: ["a"] }],
      'PATH line 1: expected at least two texts as choices, got ["a"]',
    ],
    [
      "choices that are no list",
      [{ ...CHOICE, choices: "ab" }],
      'PATH line 1: expected a list of texts as choices, got "ab"',
    ],
    [
      "a fraction as gold",
      [{ ...CHOICE, gold: 0.5 }],
      "PATH line 1: expected a whole number as gold, got 0.5",
    ],
    ["gold too large", [{ ...CHOICE, gold: 2 }], "PATH line 1: expected an index of choices as gold, got 2"],
    [
      "gold below zero",
      [{ ...PARTIAL, gold: -1 }],
      "PATH line 1: expected an index of contexts as gold, got -1",
    ],
    [
      "a long wrong value",
      [{ ...PARTIAL, continuation: ["c".repeat(99)] }],
      `PATH line 1: expected a text as continuation, got ["${"c".repeat(58)}...`,
    ],
  ])("refuses %s", async (_, lines, message) => {
    await expect(readLines(lines)).rejects.toMatchObject({ code: "BAD_TEXT", message });
  });

  test("names the line that is no JSON", async () => {
    await expect(readLines([CHOICE, "{"])).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringMatching(/^PATH line 2: expected JSON, got /),
    });
  });
});
