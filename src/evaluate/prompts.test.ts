import { describe, expect, test } from "vitest";
import type { ConversationRenderer, Message } from "../io/texts/conversations.ts";
import type { ShotDocument } from "./few_shot.ts";
import { asChats, asTexts } from "./prompts.ts";
import { candidate, type TaskDocument } from "./task_documents.ts";

const SOLVED = [candidate("Is ice cold?", "yes"), candidate("Is fire cold?", "no")];
const CHOOSING: ShotDocument = {
  where: "line 1",
  gold: 0,
  candidates: ["yes", "no"].map((answer) => candidate("Is snow cold?", answer)),
  solved: SOLVED,
};
const COMPLETING: ShotDocument = {
  where: "line 2",
  gold: 1,
  candidates: ["Ann", "Eve"].map((name) => candidate(name, "sleeps.")),
  solved: [],
};

/** A stand-in for a chat template. */
function chat(messages: readonly Message[]): string {
  return `${messages.map(({ role, content }) => `[${String(role)[0]}:${content}]`).join("")}>\n`;
}

const prompt: ConversationRenderer = async (conversations) => conversations.map(chat);

function shown(documents: readonly TaskDocument[]): readonly string[] {
  return documents.flatMap(({ candidates }) =>
    candidates.map(({ context, delimiter, answer }) => `${context}|${delimiter}${answer}`),
  );
}

describe("asTexts", () => {
  test("puts the description and solved questions before each, an empty line after these", () => {
    const before = "Answer.\nIs ice cold? yes\n\nIs fire cold? no\n\n";
    expect(shown(asTexts([{ ...CHOOSING, description: "Answer.\n" }, COMPLETING]))).toEqual([
      `${before}Is snow cold?| yes`,
      `${before}Is snow cold?| no`,
      "Ann| sleeps.",
      "Eve| sleeps.",
    ]);
  });
});

describe("asChats", () => {
  test("makes messages of solved questions, of their answers and of each context", async () => {
    const before = "[u:Is ice cold?][a:yes][u:Is fire cold?][a:no]";
    expect(shown(await asChats([CHOOSING, COMPLETING], prompt))).toEqual([
      `${before}[u:Is snow cold?]>\n|yes`,
      `${before}[u:Is snow cold?]>\n|no`,
      "[u:Ann]>\n|sleeps.",
      "[u:Eve]>\n|sleeps.",
    ]);
  });

  test.each([
    ["Be brief.", undefined, "[s:Be brief.]"],
    [undefined, "Answer.\n\n", "[s:Answer.\n\n]"],
    ["Be brief.", "Answer.", "[s:Be brief.\n\nAnswer.]"],
    ["Be brief.\n", "Answer.", "[s:Be brief.\nAnswer.]"],
  ])("has system message %j and description %j in one message", async (system, description, message) => {
    const described = { ...COMPLETING, ...(description !== undefined && { description }) };
    const [first] = shown(await asChats([described], prompt, { system }));
    expect(first).toBe(`${message}[u:Ann]>\n|sleeps.`);
  });

  test("asks once for candidates of one context, and names the document of a conversation", async () => {
    const asked: string[] = [];
    const noting: ConversationRenderer = async (conversations, where) => {
      asked.push(...conversations.map((_, index) => where(index)));
      return conversations.map(chat);
    };
    await asChats([CHOOSING, COMPLETING], noting);
    expect(asked).toEqual(["line 1", "line 2", "line 2"]);
  });
});
