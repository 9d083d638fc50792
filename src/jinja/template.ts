/** A template that is rendered as jinja2 does with undefined values that are errors. */
import { FILTERS } from "./filters.ts";
import { type Dialect, PythonInterpreter } from "./interpreter.ts";
import { Environment, parse, type Token, type TokenizeOptions, tokenize } from "./library.ts";
import { str } from "./printing.ts";
import { toValue } from "./values.ts";

/** The names of constants in jinja2. */
export const CONSTANTS = { true: true, false: false, none: null, True: true, False: false, None: null };

const HARNESS: Dialect = { isStrict: true, filters: FILTERS };

/** As in jinja2.sandbox. An allocation beyond all limits would end the process, not the thread alone. */
const MAX_RANGE = 100_000;

/**
 * @returns what renders a record
 * @throws Error for what is no template
 */
export function compileTemplate(text: string): (record: unknown) => string {
  const program = parse(printing(text, { keepsEnd: true }));
  return (record) => {
    const scope = new Environment();
    scope.set("range", range);
    // Fields are what is meant where functions have their names; constants stay what they are.
    for (const [name, value] of Object.entries({ ...Object(record), ...CONSTANTS })) {
      scope.setVariable(name, toValue(value));
    }
    return str(new PythonInterpreter(scope, HARNESS).run(program));
  };
}

/** How a template is read. */
interface ReadingOptions extends TokenizeOptions {
  /** Whether a line break at its end is one of the text's. */
  readonly keepsEnd?: boolean;
}

/**
 * Tokens of a template with `{{ value }}` as `{{ (value) | string }}`: the library prints neither None nor floats as
 * Python does. Nor does it take all line breaks for one and the same; one at the end it removes.
 * @throws Error for what is no template
 */
export function printing(
  text: string,
  { keepsEnd = false, ...options }: ReadingOptions = {},
): readonly Token[] {
  const [, open, ...rest] = tokenize("{{ () | string }}");
  const lines = text.replace(/\r\n?/g, "\n") + (keepsEnd ? "\n" : "");
  const tokens = tokenize(lines, options);
  requireSingleComparisons(tokens);
  return tokens.flatMap((token) => {
    if (token.type === "OpenExpression") return [token, open!];
    return token.type === "CloseExpression" ? rest : [token];
  });
}

/** Words and marks between which comparisons have nothing to do with each other. */
const APART: ReadonlySet<string> = new Set(["and", "or", "if", "else", ",", ":", "="]);

/** @throws Error for comparisons in a row, `1 < x < 3`, which the library does not tell from `(1 < x) < 3` */
function requireSingleComparisons(tokens: readonly Token[]): void {
  /** The last comparison at each depth of brackets. */
  const last: (string | undefined)[] = [undefined];
  for (const { type, value } of tokens) {
    if (type === "Text" || type === "StringLiteral" || type === "Comment") continue;
    if (type.startsWith("Open")) last.push(undefined);
    else if (type.startsWith("Close")) last.pop();
    else if (APART.has(value)) last[last.length - 1] = undefined;
    else if (type === "ComparisonBinaryOperator" || value === "in") {
      const before = last.at(-1);
      if (before !== undefined)
        throw new Error(`expected comparisons joined by and, got ${before} before ${value}`);
      last[last.length - 1] = value;
    }
  }
}

/** Python's `range`. @throws Error for a long one */
export function range(first: number, last?: number, step = 1): readonly number[] {
  const [start, stop] = last === undefined ? [0, first] : [first, last];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (length > MAX_RANGE) throw new Error(`range: expected at most ${MAX_RANGE} numbers, got ${length}`);
  return Array.from({ length }, (_, index) => start + index * step);
}
