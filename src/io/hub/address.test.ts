import { describe, expect, test } from "vitest";
import { hubName, isSafeFile, parseHubAddress } from "./address.ts";

const MODEL = { kind: "model", id: "org/name", revision: "main", file: undefined, column: undefined };
const DATASET = { ...MODEL, kind: "dataset", file: "data/a.parquet" };

describe("parseHubAddress", () => {
  test.each([
    ["hf://org/name", MODEL],
    ["org/name", MODEL],
    ["hf://org/name@v1.0", { ...MODEL, revision: "v1.0" }],
    ["org/name@v1.0", { ...MODEL, revision: "v1.0" }],
    ["hf://org/name@feature%2Fx", { ...MODEL, revision: "feature/x" }],
    ["hf://org/name@refs/pr/3/a.gguf", { ...MODEL, revision: "refs/pr/3", file: "a.gguf" }],
    ["hf://org/name/sub/model.Q4_K.gguf", { ...MODEL, file: "sub/model.Q4_K.gguf" }],
    ["hf://datasets/org/name/data/a.parquet", DATASET],
    ["hf://datasets/org/name/data/a.parquet#content", { ...DATASET, column: "content" }],
    [
      "hf://datasets/org/name@refs/convert/parquet/data/a.parquet",
      { ...DATASET, revision: "refs/convert/parquet" },
    ],
  ])("%s", (name, expected) => {
    expect(parseHubAddress(name)).toEqual(expected);
  });

  test.each([
    "model",
    "/tmp/model",
    "./org/name",
    "../name",
    "a/b/c",
    "models/model.Q4_1.gguf",
    "C:\\models\\x",
    "org/na me",
    "",
  ])("leaves %j to the file system", (name) => {
    expect(parseHubAddress(name)).toBeNull();
  });

  test.each([
    "hf://",
    "hf://name",
    "hf://../name",
    "hf://org/..",
    "hf://org/name/../x.gguf",
    "hf://org/name//x.gguf",
    "hf://org/name@../x",
    "hf://org/name@a%2F..%2Fb",
    "hf://org/name@%E0",
    "hf://org/name/a\\b.gguf",
    "hf://org/name#column",
    "hf://datasets/org/name",
    "hf://datasets/org",
    "hf://a--b/c",
  ])("refuses %s", (name) => {
    expect(() => parseHubAddress(name)).toThrow(
      expect.objectContaining({
        code: "BAD_ARGUMENT",
        message: expect.stringContaining(`${name}: expected hf://`),
      }),
    );
  });
});

test("isSafeFile lets no path leave its directory, on any system", () => {
  for (const path of ["a", "a/b.txt", "a/..b", ".gitattributes", "ü/名"]) expect(isSafeFile(path)).toBe(true);
  const bad = [
    "",
    "/a",
    "a/",
    "a//b",
    "../a",
    "a/../../b",
    ".",
    "..\\Windows",
    "\\\\server\\share",
    "D:foo",
    "a\u0000b",
    "a\nb",
  ];
  for (const path of [...bad, "x".repeat(201)]) expect([path, isSafeFile(path)]).toEqual([path, false]);
});

test("hubName says what was asked for", () => {
  for (const revision of ["main", "v1.0", "feature/x", "refs/pr/3", "refs/convert/parquet", "refs/heads/a"]) {
    const repo = { ...MODEL, kind: "model" as const, revision };
    expect(parseHubAddress(hubName(repo))).toEqual(repo);
  }
  expect(hubName({ kind: "model", id: "org/name", revision: "main" })).toBe("hf://org/name");
  expect(hubName({ kind: "dataset", id: "org/name", revision: "v1" })).toBe("hf://datasets/org/name@v1");
});
