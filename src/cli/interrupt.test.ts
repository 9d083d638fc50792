import { expect, test } from "vitest";
import { onInterrupt, runCleanups } from "./interrupt.ts";

test("cleanups run once, the latest first, unless they were taken back", () => {
  const calls: string[] = [];
  onInterrupt(() => calls.push("first"));
  const forget = onInterrupt(() => calls.push("second"));
  onInterrupt(() => calls.push("third"));
  forget();
  runCleanups();
  runCleanups();
  expect(calls).toEqual(["third", "first"]);
});
