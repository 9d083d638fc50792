/** Templates of tasks, rendered as by jinja2 with `StrictUndefined`. */
import { FILTERS } from "./filters.ts";
import { type Dialect, PythonInterpreter } from "./interpreter.ts";
import { Environment, parse, type Token, type TokenizeOptions, tokenize } from "./library.ts";
import { str } from "./printing.ts";
import { toValue } from "./values.ts";

/** The names of constants in jinja2. */
export const CONSTANTS = { true: true, false: false, none: null, True: true, False: false, None: null };

const HARNESS: Dialect = { isStrict: true, filters: FILTERS };

/** As in jinja2.sandbox. An allocation beyond all limits would end the process, not just the thread. */
const MAX_RANGE = 100_000;

/**
 * Compiles the template of a task.
 * @returns a function from a record to its text
 * @throws Error for a text that is no template
 */
export function compileTemplate(text: string): (record: unknown) => string {
  const program = parse(printingTokens(text, { keepsEnd: true }));
  return (record) => {
    const scope = new Environment();
    scope.set("range", range);
    // Fields take precedence over functions of the same name, constants over fields.
    for (const [name, value] of Object.entries({ ...Object(record), ...CONSTANTS })) {
      scope.setVariable(name, toValue(value));
    }
    return str(new PythonInterpreter(scope, HARNESS).run(program));
  };
}

/** Options of {@link printingTokens}. */
interface ReadingOptions extends TokenizeOptions {
  /** Whether a line break at the end of the template is part of the text. */
  readonly keepsEnd?: boolean;
}

/**
 * Tokens of a template with `{{ value }}` as `{{ (value) | string }}`, since the library prints neither None nor floats
 * as Python does. Line breaks of all kinds become `\n`, which the library would not do; it removes one at the end.
 * @throws Error for a text that is no template
 */
export function printingTokens(
  text: string,
  { keepsEnd = false, ...options }: ReadingOptions = {},
): readonly Token[] {
  const [, opening, ...closing] = tokenize("{{ () | string }}");
  const lines = text.replace(/\r\n?/g, "\n") + (keepsEnd ? "\n" : "");
  const tokens = tokenize(lines, options);
  requireSingleComparisons(tokens);
  return tokens.flatMap((token) => {
    if (token.type === "OpenExpression") return [token, opening!];
    return token.type === "CloseExpression" ? closing : [token];
  });
}

/** Words and marks that separate independent comparisons. */
const SEPARATORS: ReadonlySet<string> = new Set(["and", "or", "if", "else", ",", ":", "="]);

/** @throws Error for comparisons in a row, `1 < x < 3`, which the library does not tell from `(1 < x) < 3` */
function requireSingleComparisons(tokens: readonly Token[]): void {
  /** The last comparison at each depth of brackets. */
  const last: (string | undefined)[] = [undefined];
  for (const { type, value } of tokens) {
    if (type === "Text" || type === "StringLiteral" || type === "Comment") continue;
    if (type.startsWith("Open")) last.push(undefined);
    else if (type.startsWith("Close")) last.pop();
    else if (SEPARATORS.has(value)) last[last.length - 1] = undefined;
    else if (type === "ComparisonBinaryOperator" || value === "in") {
      const previous = last.at(-1);
      if (previous !== undefined)
        throw new Error(`expected comparisons joined by and, got ${previous} before ${value}`);
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
