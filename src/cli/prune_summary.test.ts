import { expect, test } from "vitest";
import { resolveRunConfig } from "../config.ts";
import type { PruneResult } from "../run/result.ts";
import { summaryOf } from "./prune_summary.ts";

test("the first few of many sets are named with their windows, and all tokens counted", () => {
  const sets = Array.from(
    { length: 30 },
    (_, index) => [`s${index}`, { windows: 16, tokens: 1000 }] as const,
  );
  const result: PruneResult = {
    output: "out",
    sparsity: { asked: 0.3, achieved: 0.3 },
    parameters: { before: 2000, after: 1500 },
    widths: { ffn: [9], kv: [2] },
    runtimes: { gprune: "yes" } as PruneResult["runtimes"],
    held_out: {},
    calibration: Object.fromEntries(sets),
    timings: {},
    tokens_per_second: null,
    peak_rss_bytes: 1e9,
    memory: null,
    device: { used: "cpu", asked: "cpu", problem: null },
    seed: 0,
    versions: {},
    report: null,
    report_problem: null,
  };
  const config = resolveRunConfig({ model: "m", output: "out" }, "test");
  expect(summaryOf(result, config)).toMatch(/^neurons +9 per layer$/m);
  expect(summaryOf({ ...result, experts: [3] }, config)).toMatch(
    /^neurons +9 \(of all experts together\) per layer$/m,
  );
  expect(summaryOf(result, config)).toMatch(
    /^calibration +windows per set: s0 16, .*, s7 16, and 22 more; 30,000 tokens$/m,
  );
});
