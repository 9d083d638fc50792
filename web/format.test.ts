import { expect, test } from "vitest";
import { clock, lastPart, rate } from "./format.ts";

/** The text with plain spaces. */
const plain = (text: string): string => text.replaceAll(/\s/g, " ");

test("writes seconds as people say them", () => {
  const seconds = [-3, 0, 4.4, 59.6, 185, 3753.2];
  expect(seconds.map(clock).map(plain)).toEqual(["0 s", "0 s", "4 s", "1:00", "3:05", "1:02:33"]);
});

test("writes speeds, and a dash for one that is not known", () => {
  expect(plain(rate(809.7, "tokens"))).toBe("810 tokens/s");
  expect(plain(rate(0.98, "steps"))).toBe("1.0 steps/s");
  expect(plain(rate(1234.5, "tokens"))).toBe("1,235 tokens/s");
  expect(plain(rate(12.4e6, "bytes"))).toBe("12 MB/s");
  expect(rate(null, "tokens")).toBe("–");
});

test("shows the last part of a path", () => {
  expect(["models/small/", "small", "/a/b.gguf"].map(lastPart)).toEqual(["small", "small", "b.gguf"]);
});
