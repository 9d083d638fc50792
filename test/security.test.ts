/** Checks that the tests named by the promises of SECURITY.md exist. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "..");
const promises = readFileSync(join(ROOT, "SECURITY.md"), "utf8")
  .split("\n## ")
  .find((section) => section.startsWith("What is promised"))!
  .split("\n")
  .filter((line) => /^[|] (?!promise|-)/.test(line))
  .map((line) => line.split("|").map((cell) => cell.trim()))
  .map(([, promise = "", tests = ""]) => [promise, tests] as const);

/** Functions that make tests and groups of tests, also through `each`, `skipIf` and the like. */
const MAKERS = ["describe", "it", "test"];

/** Titles of tests and groups in a source file. */
function titlesOf(source: string): readonly string[] {
  const titles: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && MAKERS.includes(maker(node.expression))) {
      const [title] = node.arguments;
      if (title !== undefined && ts.isStringLiteralLike(title)) titles.push(title.text);
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile("x.test.ts", source, ts.ScriptTarget.Latest));
  return titles;
}

/** First name of a callee: `test` in `test.skipIf(x).each(rows)`. */
function maker(callee: ts.Expression): string {
  if (ts.isIdentifier(callee)) return callee.text;
  if (!ts.isCallExpression(callee) && !ts.isPropertyAccessExpression(callee)) return "";
  return maker(callee.expression);
}

test("there are promises", () => {
  expect(promises.length).toBeGreaterThan(20);
});

test("titles are those of tests, whatever makes them, and nothing else of a source", () => {
  const source = `// test("no")\ntest.each([["no"]])("one %s", (x) => says("no"));\ndescribe.skipIf(no)("two", no)`;
  expect(titlesOf(source)).toEqual(["one %s", "two"]);
});

test.each(promises)("%s", (_, tests) => {
  const named = [...tests.matchAll(/`([^`]+[.]test[.]ts)`: ([^`]+?)(?=; `|$)/g)];
  expect(named).toHaveLength(tests.match(/[.]test[.]ts/g)!.length);
  for (const [, path, titles] of named) {
    const found = titlesOf(readFileSync(join(ROOT, path!), "utf8"));
    for (const title of titles!.split("; "))
      expect(found, path).toContainEqual(expect.stringContaining(title));
  }
});
