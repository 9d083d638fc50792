import { expect, test, vi } from "vitest";
import { barDisplay } from "./bar.ts";

test("one bar for each stage, with harmless names; stopping twice does no harm", () => {
  const written: string[] = [];
  // cli-progress draws nothing but the first and last state where stderr is no terminal.
  const write = vi
    .spyOn(process.stderr, "write")
    .mockImplementation((text) => written.push(String(text)) > 0);
  const { onProgress, stop } = barDisplay();
  onProgress({ stage: "score \u001b[2J", done: 0, total: 2, unit: "layers" });
  onProgress({ stage: "score \u001b[2J", done: 2, total: 2, unit: "layers", detail: "layer 2/2" });
  onProgress({ stage: "save", done: 1, total: 3, unit: "bytes" });
  stop();
  stop();
  write.mockRestore();
  expect(written.join("")).not.toContain("\u001b[2J");
});
