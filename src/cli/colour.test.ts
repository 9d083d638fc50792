import { expect, test } from "vitest";
import { paintFor, wantsColour } from "./colour.ts";

test("colours are for terminals, unless NO_COLOR or FORCE_COLOR says otherwise", () => {
  const terminal = { isTTY: true };
  expect(wantsColour(terminal, { TERM: "xterm" })).toBe(true);
  expect(wantsColour(terminal, { TERM: "dumb" })).toBe(false);
  expect(wantsColour({}, {})).toBe(false);
  expect(wantsColour(terminal, { NO_COLOR: "1" })).toBe(false);
  expect(wantsColour(terminal, { NO_COLOR: "" })).toBe(true);
  expect(wantsColour({}, { FORCE_COLOR: "1" })).toBe(true);
  expect(wantsColour(terminal, { FORCE_COLOR: "0" })).toBe(false);
  expect(wantsColour(terminal, { FORCE_COLOR: "1", NO_COLOR: "1" })).toBe(false);
});

test("paint closes what it opens, and is nothing without colours", () => {
  expect(paintFor(true).green("x")).toBe("\u001b[32mx\u001b[39m");
  expect(paintFor(false).green("x")).toBe("x");
});
