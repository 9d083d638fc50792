/**
 * Checks the steps of a tokenizer.json that change or cut text before any text goes through them: whether their regular
 * expressions were reviewed, and how much longer they can make a text.
 */
import { GpruneError } from "../../errors.ts";
import { isKnownExpression, type TokenizerNode } from "./pretokenizers.ts";

/** Most growth of a text. Steps of real tokenizers replace characters one by one and put one before the text. */
const MAX_GROWTH = 16;

/**
 * Whether every regular expression of normalizer, pre-tokenizer and decoder, steps inside steps included, is one of
 * pretokenizers.ts; others can take for ever on some text.
 * @throws GpruneError BAD_FILE for a malformed pattern, UNSUPPORTED for steps that together can make a text more than
 *   16 times as long
 */
export function haveKnownExpressions(steps: readonly unknown[]): boolean {
  const nodes = steps.flatMap(nodesOf);
  const patterns = nodes.flatMap(patternOf);
  const growth = nodes.reduce((product: number, node) => product * growthOf(node), 1);
  if (growth > MAX_GROWTH) {
    throw new GpruneError(
      "UNSUPPORTED",
      `tokenizer.json: expected steps that lengthen a text at most ${MAX_GROWTH}-fold, got ${growth}-fold`,
    );
  }
  return patterns.every(({ Regex: regex }) => regex === undefined || isKnownExpression(regex));
}

/** Every object inside a value, itself included. */
export function nodesOf(value: unknown): readonly TokenizerNode[] {
  if (typeof value !== "object" || value === null) return [];
  const inner = Object.values(value).flatMap(nodesOf);
  return Array.isArray(value) ? inner : [value as TokenizerNode, ...inner];
}

interface Pattern {
  readonly Regex?: string;
  readonly String?: string;
}

/** Steps that must have a pattern. */
const PATTERN_STEPS: ReadonlySet<unknown> = new Set(["Split", "Replace"]);

/** The pattern of a node; none for a node without. */
function patternOf({ type, pattern }: TokenizerNode): readonly Pattern[] {
  if (pattern === undefined && !PATTERN_STEPS.has(type)) return [];
  const { Regex: regex, String: text } = Object(pattern) as Record<string, unknown>;
  if (typeof regex === "string") return [{ Regex: regex }];
  if (typeof text === "string") return [{ String: text }];
  throw new GpruneError(
    "BAD_FILE",
    "tokenizer.json: expected a pattern with Regex or String, got another form",
  );
}

/** How many times as long a step can make a text: its new characters for each place that it may match. */
function growthOf(node: TokenizerNode): number {
  const { content, prepend } = node;
  if (typeof prepend === "string") return 1 + prepend.length;
  const [pattern] = patternOf(node);
  if (pattern === undefined || typeof content !== "string") return 1;
  // An expression may match nothing at all, everywhere.
  return pattern.String ? Math.max(1, content.length / pattern.String.length) : 1 + content.length;
}
