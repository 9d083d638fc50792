import { expect, test } from "vitest";
import type { Digest } from "../io/files/stage_file.ts";
import { isSameStream } from "./remote_activations.ts";

function digest(name: string): Digest {
  return { sha256: name, bytes: 4 };
}

const [a, b] = [digest("a"), digest("b")];
const NONE = [null, null];

test("ranges belong together when each ends where the next one began", () => {
  expect(isSameStream([[a, b], []], [NONE, [a, b]])).toBe(true);
  expect(isSameStream([[a, b], [b, a], []], [NONE, [a, b], [b, a]])).toBe(true);
  expect(isSameStream([[]], [NONE])).toBe(true);
});

test("a state that differs, is missing or is not known leaves moments to the run itself", () => {
  for (const began of [[a, digest("c")], [b, a], [a], [a, null], [a, b, b]]) {
    expect(isSameStream([[a, b], []], [NONE, began])).toBe(false);
  }
});
