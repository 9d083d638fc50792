import { expect, test } from "vitest";
import type { ProgressEvent } from "../base/progress.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { UnitProgress } from "./unit_progress.ts";

test("ends with all done, and only once, whatever shares add up to", async () => {
  const events: ProgressEvent[] = [];
  const dispatcher = { workers: 2, fail: (error: unknown) => expect.unreachable(`${error}`) };
  const facts = {
    stage: "recover",
    total: 1,
    unit: "tokens",
    onProgress: (event: ProgressEvent) => events.push(event),
  };
  const progress = new UnitProgress(dispatcher as unknown as Dispatcher, facts);
  const result = await progress.during(async () => {
    for (let unit = 0; unit < 11; unit++) progress.advance(0.1);
    return "result";
  });
  expect(result).toBe("result");
  expect(events.at(-1)).toEqual({ stage: "recover", done: 1, total: 1, unit: "tokens", detail: "2 workers" });
  expect(events.filter(({ done, total }) => done >= total)).toHaveLength(1);
});
