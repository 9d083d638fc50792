import { expect, test } from "vitest";
import { meantHint } from "./similar.ts";

test.each([
  ["smaples", ["seqLen", "samples"], "Did you mean samples?"],
  ["seq-len", ["seqLen", "samples"], "Did you mean seqLen?"],
  ["Q4K", ["q4_0", "q4_k"], "Did you mean q4_k?"],
  ["calib", ["samples", "calibration"], "Did you mean calibration?"],
  ["q8", ["q4_0", "q8_0"], "Did you mean q8_0?"],
  ["abcdefgh", ["abcdexyz", "abcdefgx"], "Did you mean abcdefgx?"],
  ["abcdefghijkl", ["abcdefghixyz"], "Did you mean abcdefghixyz?"],
  ["abcdefghijkl", ["abcdefghwxyz"], undefined],
  ["abcdef", ["abcxef"], "Did you mean abcxef?"],
  ["abcdef", ["abcxyf"], "Did you mean abcxyf?"],
  ["abcdef", ["abcxyz"], undefined],
  ["zebra", ["samples", "calibration"], undefined],
  ["", ["samples"], undefined],
])("%s among %j: %s", (given, words, hint) => {
  expect(meantHint(given, words)).toBe(hint);
});
