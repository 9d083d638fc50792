import { describe, expect, test } from "vitest";
import { bytes, duration, geometricMean, percent, perplexity, short, times, withMinus } from "./format.ts";

describe("numbers of the report", () => {
  test.each([
    [percent(0.34987), "35.0 %"],
    [short(812), "812"],
    [short(999), "999"],
    [short(99_994), "99.99 K"],
    [short(99_995), "100.0 K"],
    [short(999_949), "999.9 K"],
    [short(999_950), "1.00 M"],
    [short(999_999_999), "1.00 B"],
    [short(4_950_000), "4.95 M"],
    [short(134_515_008), "134.5 M"],
    [short(7.24e9), "7.24 B"],
    [perplexity(5.006), "5.01"],
    [perplexity(123.45), "123.5"],
    [perplexity(56_789.4), "56,789"],
    [perplexity(1e300), "1.0e+300"],
    [times(2e12), "×2.0e+12"],
    [times(1.304), "×1.30"],
    [times(1234), "×1,234"],
    [duration(0.374), "0.4 s"],
    [duration(0.012), "< 0.1 s"],
    [duration(0), "0.0 s"],
    [duration(59.96), "1 min 00 s"],
    [duration(59.94), "59.9 s"],
    [duration(185), "3 min 05 s"],
    [duration(3599.9), "1 h 00 min"],
    [bytes(98e6), "0.10 GB"],
    [bytes(1.5e9), "1.50 GB"],
    [withMinus("-0.12"), "\u22120.12"],
    [withMinus("a-b"), "a-b"],
  ])("%s", (shown, expected) => {
    expect(shown).toBe(expected.replaceAll(" ", "\u00a0"));
  });

  test("geometricMean is the root of the product, and 1 of no values", () => {
    expect(geometricMean([2, 8])).toBeCloseTo(4, 12);
    expect(geometricMean([])).toBe(1);
  });
});
