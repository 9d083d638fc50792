/** Words for values that do not fit a schema. */
import { z } from "zod";
import { orList } from "./lists.ts";

type Issue = z.core.$ZodIssue;

/** What is wrong where, with the values that each member of a union expects. */
export function wrongValues({ issues }: { readonly issues: readonly Issue[] }): string {
  return z.prettifyError({ issues: issues.flatMap(withMembers) }).replaceAll("✖ ", "");
}

/** What zod says of a value that fits no member of a union, unless the schema has words of its own. */
const UNION_MESSAGE = "Invalid input";

/** The issues of a union are those of the member that fits best: one that a value inside is wrong for, or else all. */
function withMembers(issue: Issue): readonly Issue[] {
  if (issue.code !== "invalid_union" || issue.message !== UNION_MESSAGE) return [issue];
  const inside = issue.errors.find((issues) => issues.every(({ path }) => path.length > 0));
  if (inside !== undefined && inside.length > 0) {
    return inside.flatMap((inner) => withMembers({ ...inner, path: [...issue.path, ...inner.path] }));
  }
  const types = issue.errors
    .flat()
    .map(({ message }) => /^Invalid input: expected (.+), received (.+)$/.exec(message));
  if (types.length === 0 || types.includes(null)) return [issue];
  const expected = [...new Set(types.map((type) => type![1]!))];
  const message = `Invalid input: expected ${orList(expected)}, received ${types[0]![2]}`;
  return [{ ...issue, message }];
}
