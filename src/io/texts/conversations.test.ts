import { describe, expect, test } from "vitest";
import { asConversation } from "./conversations.ts";

describe("asConversation", () => {
  test("takes messages as chat models have them, with whatever else they have", () => {
    const call = { name: "weather", arguments: { city: "Ulm" } };
    const messages = [
      { role: "user", content: "Rain?" },
      { role: "assistant", tool_calls: [call] },
    ];
    expect(asConversation(messages)).toEqual(messages);
  });

  test("leaves out what is null, content as well, as transformers does", () => {
    const messages = [
      { role: "user", content: "Rain?", tool_calls: null },
      { role: "assistant", content: null, tool_calls: [{ id: null }], name: null },
      { from: "gpt", value: null },
    ];
    const said = [
      { role: "user", content: "Rain?" },
      { role: "assistant", tool_calls: [{ id: null }] },
      { role: "assistant" },
    ];
    expect(asConversation(messages)).toStrictEqual(said);
  });

  test("gives reasoning the names that templates know, as transformers does", () => {
    const said = { role: "assistant", content: "4" };
    const fields = [
      { thinking: "2 + 2" },
      { reasoning: "2 + 2" },
      { reasoning_content: "2 + 2", thinking: "so", reasoning: null },
      { reasoning_content: null, thinking: "", reasoning: "so" },
    ];
    const given = [
      { reasoning_content: "2 + 2", thinking: "2 + 2" },
      { reasoning_content: "2 + 2", thinking: "2 + 2", reasoning: "2 + 2" },
      { reasoning_content: "2 + 2", thinking: "so" },
      { reasoning_content: "", thinking: "", reasoning: "so" },
    ];
    expect(asConversation(fields.map((field) => ({ ...said, ...field })))).toStrictEqual(
      given.map((field) => ({ ...said, ...field })),
    );
  });

  test("gives ShareGPT's messages the names that templates know", () => {
    const names = ["system", "human", "gpt", "tool", "Human", "chatgpt", "bot", "model"];
    const roles = ["system", "user", "assistant", "tool", "user", "assistant", "assistant", "assistant"];
    const shared = names.map((from) => ({ from, value: `${from}!` }));
    expect(asConversation(shared)).toEqual(
      names.map((from, index) => ({ role: roles[index], content: `${from}!` })),
    );
    const merged = { role: null, content: null, from: "human", value: "Hi" };
    expect(asConversation([merged])).toEqual([{ role: "user", content: "Hi" }]);
  });

  test("joins parts that are texts, and leaves others", () => {
    const parts = [
      { type: "text", text: "a " },
      { type: "text", text: "b" },
    ];
    expect(asConversation([{ role: "user", content: parts }])).toEqual([{ role: "user", content: "a b" }]);
    const picture = [{ type: "image" }, ...parts];
    expect(asConversation([{ role: "user", content: picture }])).toEqual([
      { role: "user", content: picture },
    ]);
  });

  test.each([
    [null],
    ["text"],
    [[]],
    [["text"]],
    [[{ content: "no role" }]],
    [[{ role: 1, content: "" }]],
    [{ role: "user" }],
  ])("takes nothing else: %j", (value) => {
    expect(asConversation(value)).toBeNull();
  });
});
