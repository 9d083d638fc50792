import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { parquetOf } from "../../../test/parquet_builder.ts";
import type { ConversationRenderer } from "./conversations.ts";
import { readText } from "./texts.ts";

/** `<user>Hi<assistant>Hello\n` */
const render: ConversationRenderer = async (conversations) =>
  conversations.map((messages) => `${messages.map(({ role, content }) => `<${role}>${content}`).join("")}\n`);

const renderer = () => render;

const GREETING = [
  { role: "user", content: "Hi" },
  { role: "assistant", content: "Hello" },
];
const QUESTION = [{ role: "user", content: "Why?" }];

async function pathOf(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(await temporaryDirectory(), name);
  await writeFile(path, content);
  return path;
}

function lines(...documents: readonly unknown[]): string {
  return documents.map((document) => JSON.stringify(document)).join("\n");
}

type SchemaElement = NonNullable<Parameters<typeof parquetWriteBuffer>[0]["schema"]>[number];

describe("readText of conversations", () => {
  test("has them rendered, of messages as of ShareGPT's, and lets one follow the other", async () => {
    const shared = { conversations: [{ from: "human", value: "Why?" }] };
    const path = await pathOf("a.jsonl", lines({ id: 1, messages: GREETING }, shared));
    expect(await readText(path, 1e6, { renderer })).toBe("<user>Hi<assistant>Hello\n<user>Why?\n");
    const list = await pathOf("a.json", JSON.stringify([{ messages: QUESTION }, { messages: GREETING }]));
    expect(await readText(list, 1e6, { renderer })).toBe("<user>Why?\n<user>Hi<assistant>Hello\n");
  });

  test("takes a text before a conversation, and the field that is asked for", async () => {
    const both = lines({ text: "one", messages: GREETING }, { chosen: QUESTION, messages: GREETING });
    const path = await pathOf("a.jsonl", both);
    expect(await readText(path, 1e6, { renderer })).toBe("one\n\n<user>Hi<assistant>Hello\n");
    const chosen = await pathOf("b.jsonl", lines({ chosen: QUESTION, messages: GREETING }));
    expect(await readText(`${chosen}#chosen`, 1e6, { renderer })).toBe("<user>Why?\n");
  });

  test("says where one is that nobody renders, or that is none", async () => {
    const path = await pathOf("a.jsonl", lines({ text: "one" }, { messages: GREETING }));
    await expect(readText(path, 1e6)).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: `${path}:2: expected text, got a conversation`,
      hint: "A conversation needs a model's chat template to become text, and there is none here.",
    });
    const wrong = await pathOf("b.jsonl", lines({ messages: ["Hi"] }));
    await expect(readText(wrong, 1e6, { renderer })).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: `${wrong}:1: expected an object with a text field (text or content) or a list of messages (messages or conversations), got none`,
    });
  });

  test("reads lists of messages from Parquet, before other texts when nobody says which", async () => {
    const columns = { prompt: ["Hi", "Why?"], messages: [GREETING, QUESTION] };
    const path = await pathOf("a.parquet", parquetOf(columns));
    expect(await readText(path, 1e6, { renderer })).toBe("<user>Hi<assistant>Hello\n<user>Why?\n");
    expect(await readText(`${path}#prompt`, 1e6, { renderer })).toBe("Hi\n\nWhy?");
    expect(await readText(path, 1e6)).toBe("Hi\n\nWhy?");
    await expect(readText(`${path}#messages`, 1e6)).rejects.toMatchObject({ code: "BAD_TEXT" });
  });

  test("leaves out what has no messages, and without a renderer does not look for conversations beside texts", async () => {
    const empty = lines({ messages: [] }, { messages: GREETING }, { conversations: null });
    const path = await pathOf("a.jsonl", empty);
    expect(await readText(path, 1e6, { renderer })).toBe("<user>Hi<assistant>Hello\n");
    const rows = await pathOf("a.parquet", parquetOf({ body: ["one", "two"], messages: [GREETING, []] }));
    expect(await readText(rows, 1e6, { renderer })).toBe("<user>Hi<assistant>Hello\n");
    expect(await readText(rows, 1e6)).toBe("one\n\ntwo");
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "a.txt"), "text");
    await writeFile(join(directory, "b.json"), JSON.stringify([{ messages: QUESTION }]));
    expect(await readText(directory, 1e6)).toBe("text");
    expect(await readText(directory, 1e6, { renderer })).toBe("text\n\n<user>Why?\n");
  });

  test("takes lists of other things in Parquet for neither texts nor conversations", async () => {
    const list = { name: "conversations", data: [["a"], ["b"]] };
    const body = { name: "body", data: ["one", "two"], type: "STRING" as const };
    const schema: readonly SchemaElement[] = [
      { name: "root", num_children: 2 },
      { name: "conversations", converted_type: "LIST", repetition_type: "OPTIONAL", num_children: 1 },
      { name: "list", repetition_type: "REPEATED", num_children: 1 },
      { name: "element", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
      { name: "body", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
    ];
    const columnData = [list, { name: body.name, data: body.data }];
    const bytes = new Uint8Array(parquetWriteBuffer({ columnData, schema: [...schema] }));
    const path = await pathOf("a.parquet", bytes);
    expect(await readText(path, 1e6, { renderer })).toBe("one\n\ntwo");
    await expect(readText(`${path}#conversations`, 1e6, { renderer })).rejects.toMatchObject({
      code: "BAD_TEXT",
      hint: "Its text columns are body.",
    });
  });

  test("asks for a renderer only where there may be conversations", async () => {
    const missing = {
      renderer: () => {
        throw new Error("no template can be read");
      },
    };
    expect(await readText(await pathOf("a.txt", "text"), 1e6, missing)).toBe("text");
    const path = await pathOf("a.jsonl", lines({ text: "one" }));
    await expect(readText(path, 1e6, missing)).rejects.toThrow("no template can be read");
  });

  test("reads no more conversations of Parquet than the limit has room for", async () => {
    const many = Array.from({ length: 400 }, (_, i) => [
      { role: "user", content: `${i} ${"x".repeat(100)}` },
    ]);
    const path = await pathOf("a.parquet", parquetOf({ messages: many }));
    const text = await readText(path, 10_000, { renderer });
    expect(text.length).toBeGreaterThan(2000);
    expect(text.length).toBeLessThan(10_000);
    const numbers = Array.from(text.matchAll(/<user>(\d+) /g), ([, number]) => Number(number));
    expect(Math.max(...numbers)).toBeGreaterThan(300);
  });
});
