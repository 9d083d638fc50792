import { expect, test } from "vitest";
import { enoughGigabytes, gigabytes, parseSize } from "./byte_size.ts";

test.each([
  ["4GB", 4e9],
  ["4 gb", 4e9],
  ["512MiB", 2 ** 29],
  ["1.5GiB", 1.5 * 2 ** 30],
  ["64KB", 64_000],
  ["4000000000", 4e9],
  ["12B", 12],
])("%s is %d bytes", (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each(["", "GB", "-4GB", "4 G B", "4GBs", "0GB", "1e9", "4,5GB", "1e400GB", "99999999TB"])(
  "%j is no size",
  (text) => {
    expect(parseSize(text)).toBeNull();
  },
);

test("sizes are said in decimal gigabytes", () => {
  expect(gigabytes(1_620_000_000)).toBe("1.62 GB");
});

test.each([1, 9_999_999, 402_000_000, 1_624_000_001, 4e9])(
  "what is enough for %d bytes is that much",
  (bytes) => {
    const enough = parseSize(enoughGigabytes(bytes))!;
    expect(enough).toBeGreaterThanOrEqual(bytes);
    expect(enough - bytes).toBeLessThan(1e7);
  },
);
