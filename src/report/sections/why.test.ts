import { expect, test } from "vitest";
import { reportFiles } from "../../../test/report_files.ts";
import { reportData } from "../report_data.ts";
import { whySection } from "./why.ts";

/** The reasons shown for a space's modules where the first has this one. */
function reasonsOf(modules: number, reason: string): string {
  const data = reportData(reportFiles());
  const [space] = data.grounds.spaces;
  const module = { ...space!.modules[0]!, r: -0.25, magnitude: 0.5, verdict: "activation" as const, reason };
  const spaces = [{ ...space!, modules: Array.from({ length: modules }, () => module) }];
  return whySection({ ...data, grounds: { ...data.grounds, spaces } }, new Map())!.body.markup;
}

test("a module that is a whole space is not said to score high", () => {
  const reason =
    "Activation scores: they do not hold with r = -0.25, but the units score high (quantile 0.50).";
  expect(reasonsOf(1, reason)).toContain(
    "r = \u22120.25, below 0.5, but a module that is a whole space never falls back.",
  );
  expect(reasonsOf(1, reason)).not.toContain("score high");
  expect(reasonsOf(2, reason)).toContain(
    "They do not hold with r = \u22120.25, but the units score high (quantile 0.50).",
  );
});
