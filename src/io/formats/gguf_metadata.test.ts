import { expect, test } from "vitest";
import { GgufMetadata } from "./gguf_metadata.ts";

const metadata = new GgufMetadata(
  "m.gguf",
  new Map<string, number | string | boolean | readonly (number | string | boolean)[]>([
    ["number", 7],
    ["text", "seven"],
    ["flag", true],
    ["texts", ["a", "b"]],
    ["numbers", [1, 0, 2]],
    ["flags", [true, false]],
  ]),
);

test("values are read as what they are, and absent ones are undefined where they may be", () => {
  expect([metadata.number("number"), metadata.text("text"), metadata.texts("texts")]).toEqual([
    ...[7, "seven"],
    ["a", "b"],
  ]);
  expect([metadata.optionalFlag("flag"), metadata.optionalNumbers("numbers", 3)]).toEqual([true, [1, 0, 2]]);
  expect(metadata.perLayer("number", 2)).toEqual([7, 7]);
  expect(metadata.perLayer("numbers", 3)).toEqual([1, 0, 2]);
  expect(metadata.optionalFlags("flags", 2)).toEqual([true, false]);
  expect(metadata.optionalFlags("numbers", 3)).toEqual([true, false, true]);
  expect(metadata.optionalFlags("number", 3)).toBeUndefined();
  expect([
    metadata.optionalNumber("none"),
    metadata.optionalText("none"),
    metadata.optionalTexts("none"),
  ]).toEqual(Array(3).fill(undefined));
});

test.each<[string, (from: GgufMetadata) => unknown, string]>([
  ["no number", (from) => from.number("none"), "none: expected a number, got nothing"],
  ["no text", (from) => from.text("none"), "none: expected a string, got nothing"],
  ["no texts", (from) => from.texts("none"), "none: expected an array of strings, got nothing"],
  ["no number for layers", (from) => from.perLayer("none", 2), "none: expected a number, got nothing"],
  ["a text as number", (from) => from.optionalNumber("text"), "text: expected a number, got string"],
  ["a number as text", (from) => from.optionalText("number"), "number: expected a string, got number"],
  ["a list as text", (from) => from.optionalText("texts"), "texts: expected a string, got an array"],
  ["a number as flag", (from) => from.optionalFlag("number"), "number: expected true or false, got number"],
  ["a text as list", (from) => from.optionalTexts("text"), "text: expected an array of strings, got string"],
  [
    "numbers as texts",
    (from) => from.texts("numbers"),
    "numbers: expected an array of strings, got an array",
  ],
  [
    "texts as numbers",
    (from) => from.perLayer("texts", 2),
    "texts: expected an array of numbers, got an array",
  ],
  ["too few numbers", (from) => from.optionalNumbers("numbers", 4), "numbers: expected 4 numbers, got 3"],
  [
    "too few flags",
    (from) => from.optionalFlags("flags", 3),
    "flags: expected 3 times true or false, got 2 values",
  ],
  [
    "texts as flags",
    (from) => from.optionalFlags("texts", 2),
    "texts: expected 2 times true or false, got 2 values",
  ],
])("%s is an error that names file and key", (_, read, message) => {
  expect(() => read(metadata)).toThrow(
    expect.objectContaining({ code: "BAD_FILE", message: `m.gguf: ${message}` }),
  );
});
