import { describe, expect, it } from "vitest";
import { METRICS, metricByName } from "./registry.ts";

describe("metricByName", () => {
  it("finds every metric, and names are unique", () => {
    for (const metric of METRICS) expect(metricByName(metric.name)).toBe(metric);
    expect(new Set(METRICS.map(({ name }) => name)).size).toBe(METRICS.length);
  });

  it("lists the known names", () => {
    expect(() => metricByName("taste")).toThrow(/expected one of wifv, .*random, got "taste"/);
    expect(() => metricByName("taste")).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT" }));
  });

  it.each([
    ["WIFV", "wifv"],
    ["flap-wifv", "wifv"],
    ["wandasp", "wanda-sp"],
  ])("suggests for %s the name %s", (typed, known) => {
    expect(() => metricByName(typed)).toThrow(expect.objectContaining({ hint: `Did you mean "${known}"?` }));
  });
});
