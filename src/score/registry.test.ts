import { describe, expect, test } from "vitest";
import { METRICS, metricByName } from "./registry.ts";

describe("metricByName", () => {
  test("finds every metric, and names are unique", () => {
    for (const metric of METRICS) expect(metricByName(metric.name)).toBe(metric);
    expect(new Set(METRICS.map(({ name }) => name)).size).toBe(METRICS.length);
  });

  test("lists the known names", () => {
    expect(() => metricByName("taste")).toThrow(/expected one of flap-wifv, .*random, got "taste"/);
    expect(() => metricByName("taste")).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT" }));
    for (const [typed, meant] of Object.entries({ flap: "flap-wifv", fischer: "fisher", mawe: "maw" })) {
      expect(() => metricByName(typed)).toThrow(expect.objectContaining({ hint: `Did you mean ${meant}?` }));
    }
  });

  test.each(["fisher1", "maw3", "0random", "pon中"])("takes nothing else for a name: %s", (typed) => {
    expect(() => metricByName(typed)).toThrow(/expected one of/);
  });

  test.each([
    ["WIFV", "flap-wifv"],
    ["flap_wifn", "flap-wifn"],
    ["wandasp", "wanda-sp"],
  ])("takes %s for %s", (typed, known) => {
    expect(metricByName(typed).name).toBe(known);
  });
});
