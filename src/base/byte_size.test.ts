import { expect, test } from "vitest";
import {
  alignUp,
  binarySize,
  contrastedSizes,
  decimalSize,
  enoughGigabytes,
  gigabytes,
  parseSize,
} from "./byte_size.ts";

test.each([
  ["4GB", 4e9],
  ["4 gb", 4e9],
  ["512MiB", 2 ** 29],
  ["1.5GiB", 1.5 * 2 ** 30],
  ["64KB", 64_000],
  ["3MB", 3e6],
  ["2TB", 2e12],
  ["64KiB", 2 ** 16],
  ["2TiB", 2 ** 41],
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

test.each([
  [1, "1 byte", "1 byte"],
  [999, "999 bytes", "999 bytes"],
  [1_000, "1.00 kB", "1,000 bytes"],
  [1_024, "1.02 kB", "1.00 KiB"],
  [20 * 2 ** 20, "20.97 MB", "20.00 MiB"],
  [1_620_000_000, "1.62 GB", "1.51 GiB"],
])("%d bytes are said in the unit that fits", (bytes, decimal, binary) => {
  expect([decimalSize(bytes), binarySize(bytes)]).toEqual([decimal, binary]);
});

test("two sizes of which one is too small never look alike", () => {
  expect(contrastedSizes(2 ** 31, 2 ** 20)).toEqual(["2.00 GiB", "1.00 MiB"]);
  expect(contrastedSizes(11_000_123.4, 11_000_000)).toEqual(["11,000,123 bytes", "11,000,000 bytes"]);
});

test("an aligned size is the next multiple, also beyond 32 bits", () => {
  expect([0, 1, 32, 33, 2 ** 40 + 1].map((bytes) => alignUp(bytes, 32))).toEqual([
    0,
    32,
    32,
    64,
    2 ** 40 + 32,
  ]);
});
