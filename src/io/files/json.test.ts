import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { isJsonObject, MAX_JSON_DEPTH, parseJson, readJsonFile } from "./json.ts";

const LIMITS = { maxBytes: 1000, maxDepth: 3 };

function parse(input: string | Uint8Array): unknown {
  return parseJson(input, { ...LIMITS, where: "x.json" });
}

function badFile(text: string): unknown {
  return expect.objectContaining({
    code: "BAD_FILE",
    message: expect.stringMatching(`^x\\.json: .*${text}`),
  });
}

test("what JSON.parse accepts comes back unchanged", () => {
  const options = { where: "x", maxBytes: 1e7, maxDepth: MAX_JSON_DEPTH };
  fc.assert(
    fc.property(fc.json({ maxDepth: 5 }), (text) => {
      expect(parseJson(text, options)).toEqual(JSON.parse(text));
      expect(parseJson(Buffer.from(text), options)).toEqual(JSON.parse(text));
    }),
    { seed: 1, numRuns: 200 },
  );
});

test("an empty file and a web page are named", () => {
  expect(() => parse(" \n")).toThrow("x.json: expected JSON, got nothing");
  expect(() => parse("<!DOCTYPE html><title>401 Unauthorized</title>")).toThrow(
    expect.objectContaining({
      code: "BAD_FILE",
      hint: "It looks like a web page, perhaps a server's error message; download the file again.",
    }),
  );
});

describe("limits", () => {
  test("bytes are counted as UTF-8", () => {
    expect(parse(`"${"a".repeat(998)}"`)).toHaveLength(998);
    expect(() => parse(`"${"a".repeat(999)}"`)).toThrow(badFile("at most 1000 bytes"));
    expect(() => parse(`"${"é".repeat(500)}"`)).toThrow(badFile("got 1002"));
    expect(() => parse(Buffer.from(`"${"é".repeat(500)}"`))).toThrow(badFile("got 1002"));
  });

  test("depth", () => {
    expect(parse('[{"a":[]}]')).toEqual([{ a: [] }]);
    expect(parse("[[[]],[[]]]")).toEqual([[[]], [[]]]);
    expect(() => parse('[{"a":[{}]}]')).toThrow(badFile("at most 3 levels"));
    expect(() => parse("[".repeat(900))).toThrow(badFile("at most 3 levels"));
    expect(parse('"[[[[[[[["')).toBe("[[[[[[[[");
    expect(parse(String.raw`["\"[[[[", "\\", "[[[["]`)).toEqual(['"[[[[', "\\", "[[[["]);
  });

  test("number of items", () => {
    const text = `[${"0,".repeat(10_000_000)}0]`;
    expect(() => parseJson(text, { where: "x.json", maxBytes: 1e9, maxDepth: 3 })).toThrow(
      badFile("10000000 items"),
    );
  });
});

describe("keys", () => {
  test.each([
    '{"a":1,"a":1}',
    '{"a":1,"b":[{"c":1}],"a":2}',
    '{"b":{"a":{},"c":[],"a":1}}',
    String.raw`{"a":1,"\u0061":2}`,
    String.raw`{"\"":1,"\u0022":2}`,
  ])("a repeated key is refused: %s", (text) => {
    expect(() => parse(text)).toThrow(badFile("every key once"));
  });

  test.each([
    '[{"a":1},{"a":1}]',
    '{"a":{"a":{"a":"a"}},"b":["a","a"]}',
    '{"constructor":1,"toString":2,"A":3,"a":4}',
    '{"a":"b","b":"a"}',
  ])("the same text elsewhere is no repetition: %s", (text) => {
    expect(parse(text)).toEqual(JSON.parse(text));
  });

  test.each(['{"__proto__":{"polluted":1}}', '{"a":[{"__proto__":1}]}', String.raw`{"\u005f_proto__":1}`])(
    "__proto__ is refused: %s",
    (text) => {
      expect(() => parse(text)).toThrow(badFile("__proto__"));
      expect(Object.prototype).not.toHaveProperty("polluted");
    },
  );

  test("__proto__ as a value is text like any other", () => {
    expect(parse('["__proto__",{"a":"__proto__"}]')).toEqual(["__proto__", { a: "__proto__" }]);
  });
});

describe("text that is not JSON", () => {
  test.each([
    "",
    "{",
    "]",
    '"',
    '"\\',
    "{]",
    "[}",
    '{"a"',
    '{"a":1,}',
    "{a:1}",
    "NaN",
    "[1]]",
    '{"\\x":1}',
    "{}{}",
  ])("%j", (text) => {
    expect(() => parse(text)).toThrow(badFile("expected JSON"));
  });

  test("bytes that are not UTF-8", () => {
    expect(() => parse(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(badFile("UTF-8"));
  });

  test("any text either parses as JSON.parse does or is an error with the file's name", () => {
    const hostile = fc.string({ unit: fc.constantFrom(...'{}[],:"\\ua0_1 '), maxLength: 40 });
    fc.assert(
      fc.property(hostile, (text) => {
        let parsed: unknown;
        try {
          parsed = parse(text);
        } catch (error) {
          expect(error).toEqual(badFile("expected"));
          return;
        }
        expect(parsed).toEqual(JSON.parse(text));
      }),
      { seed: 1, numRuns: 2000 },
    );
  });
});

test("a file is measured before it is read", async () => {
  const directory = await temporaryDirectory();
  const path = join(directory, "config.json");
  await writeFile(path, '{"a":1}');
  expect(await readJsonFile(path, LIMITS)).toEqual({ a: 1 });
  await expect(readJsonFile(path, { maxBytes: 6, maxDepth: 3 })).rejects.toThrow(/config\.json: .*at most 6/);
  await expect(readJsonFile(join(directory, "none.json"), LIMITS)).rejects.toMatchObject({
    code: "NOT_FOUND",
  });
});

test("only objects are objects", () => {
  expect([{}, [], null, "a", 1].map(isJsonObject)).toEqual([true, false, false, false, false]);
});
