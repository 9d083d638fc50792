import { expect, test } from "vitest";
import type { ComparedModel } from "../evaluate/compare.ts";
import { comparisonTable } from "./comparison_table.ts";

const text = (ppl: number) => ({ ppl, nll: Math.log(ppl), windows: 1, tokens: 9 });
const dense: ComparedModel = {
  model: "a|b",
  dtype: "F16",
  parameters: { total: 2000, prunable: 1000 },
  bytes: 4_000_000,
  widths: { ffn: [9, 9], kv: [2, 2] },
  texts: { web: text(4), code: text(9) },
  tasks: { quiz: { acc: 0.5, acc_norm: 0.25, stderr: 0.1, acc_norm_stderr: null, n: 3 } },
};
const far = { kl: 0.1, agreement: 0.5, loss_difference: 0.25, layers: [0.5, 1] };
const pruned: ComparedModel = {
  ...dense,
  model: "p\u001b",
  parameters: { total: 1500, prunable: 500 },
  widths: { ffn: [3, 9], kv: [1, 2] },
  experts: [3, 3],
  divergence: { web: far, code: { ...far, kl: 0.3 } },
};
const other: ComparedModel = { ...dense, model: "o", divergence: null, incomparable: "other words" };

/** Cells of every line, without padding. */
const cellsOf = (table: string): string[][] =>
  table
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) =>
      line
        .slice(2, -2)
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim()),
    );

test("has no lines of divergence where there is none", () => {
  const names = cellsOf(comparisonTable([dense, other])).map(([name]) => name);
  expect(names).toContain("perplexity, geometric mean");
  expect(names.filter((name) => /first|top token|hidden/.test(name!))).toEqual([]);
});

test("says whose perplexities do not compare", () => {
  const note = "\n\no tokenizes the texts differently, so its perplexities are not comparable.";
  expect(comparisonTable([dense, { ...other, other_tokens: true }])).toContain(note);
  expect(comparisonTable([dense, other])).not.toContain("not comparable");
});

test("says of growth that it is growth", () => {
  const rows = cellsOf(comparisonTable([pruned, dense]));
  expect(rows[2]).toEqual(["parameters", "1,500", "2,000 (+33.3 %)"]);
});

test("shows the median and the range over the rounds of whatever was timed", () => {
  const rates = { median: 100, min: 90, max: 120 };
  const memory = { weights: 2e6, cache: 1e5, peak_rss_bytes: null };
  const speed = {
    prompt: rates,
    decoding: rates,
    first_token: { median: 0.1, min: 0.0875, max: 0.125 },
    memory,
  };
  const twice = { median: 2, min: 1, max: 3 };
  const faster = { ...speed, over_first: { prompt: twice, decoding: twice } };
  const rows = cellsOf(
    comparisonTable([
      { ...dense, speed },
      { ...pruned, speed: faster },
    ]),
  );
  expect(rows.find(([name]) => name === "decoding tokens/s")!.slice(1)).toEqual([
    "100.0 (90.0 to 120.0)",
    "100.0 (90.0 to 120.0), ×2.00",
  ]);
  expect(rows.find(([name]) => name === "first token, ms")!.slice(1)).toEqual([
    "100.0 (87.5 to 125.0)",
    "100.0 (87.5 to 125.0)",
  ]);
});

test("is Markdown with a column for each model", () => {
  const table = comparisonTable([dense, pruned, other]);
  const [head, rule, ...rows] = cellsOf(table);
  expect(head).toEqual(["", "a\\|b", "p\\u001b", "o"]);
  expect(rule!.every((cell) => /^-+:?$/.test(cell))).toBe(true);
  expect(rows).toEqual([
    ["parameters", "2,000", "1,500 (-25.0 %)", "2,000"],
    ["prunable", "1,000", "500 (-50.0 %)", "1,000"],
    ["stored", "4.0 MB (F16)", "4.0 MB (F16)", "4.0 MB (F16)"],
    ["neurons per layer", "9", "3 to 9 (of all experts together)", "9"],
    ["KV groups per layer", "2", "1 to 2", "2"],
    ["perplexity, web", "4.00", "4.00", "4.00"],
    ["perplexity, code", "9.00", "9.00", "9.00"],
    ["perplexity, geometric mean", "6.00", "6.00", "6.00"],
    ["loss difference, nats, mean", "", "0.2500", ""],
    ["KL from the first, nats, mean", "", "0.2000", ""],
    ["same top token, mean", "", "50.0 %", ""],
    ["hidden error, last layer", "", "1.0000", ""],
    ["quiz, acc", "0.500 ± 0.100", "0.500 ± 0.100", "0.500 ± 0.100"],
    ["quiz, acc_norm", "0.250", "0.250", "0.250"],
  ]);
  expect(table.split("\n").at(-1)).toBe("o has no divergence: other words.");
  const lengths = table
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) => line.length);
  expect(new Set(lengths).size).toBe(1);
});
