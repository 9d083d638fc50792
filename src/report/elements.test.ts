import { expect, test } from "vitest";
import { numbers, table } from "./elements.ts";

test("columns of a group have its name above them, and keep their numbers for sorting", () => {
  const columns = [{ title: "Set" }, ...numbers(["a", "b"], "G"), ...numbers(["c"], "H"), ...numbers(["n"])];
  const row = ["x", ...[-1, 2, 3, 4].map((value) => ({ text: `${value}`, value }))];
  const { markup } = table({ caption: "T", columns, rows: [row] });
  const head = /<thead>(.*)<\/thead>/.exec(markup)![1]!;
  expect(head.replaceAll(/ (?:scope|class)="[^"]*"/g, "")).toBe(
    '<tr><th data-column="0" rowspan="2">Set</th><th colspan="2">G</th><th colspan="1">H</th><th data-column="4" rowspan="2">n</th></tr>' +
      '<tr><th data-column="1">a</th><th data-column="2">b</th><th data-column="3">c</th></tr>',
  );
  expect(markup).toContain('data-value="-1">\u22121</td>');
});

test("a long table says how many rows it has", () => {
  const rows = (count: number) => Array.from({ length: count }, (_, index) => [`${index}`]);
  const made = (count: number): string =>
    table({ caption: "T", columns: [{ title: "A" }], rows: rows(count) }).markup;
  expect(made(17)).toContain("17 rows");
  expect(made(17)).toContain('class="scroll long"');
  expect(made(16)).not.toContain("rows</span>");
});
