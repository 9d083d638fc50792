/** Operators that the library computes differently from Python. */
import type { Value } from "./library.ts";
import { str } from "./printing.ts";
import { Bool, equal, Float, Int, isNumber, kindOf, Str } from "./values.ts";

/** Undefined for values that the library computes correctly. */
type Operator = (left: Value, right: Value) => Value | undefined;

/** `in`, or `not in`. */
function membership(isWanted: boolean): Operator {
  return (left, right) => {
    if (right.type !== "ArrayValue") return;
    return new Bool(right.value.some((item) => equal(left, item)) === isWanted);
  };
}

/** Python's `%` of numbers has the divisor's sign. Texts, which Python formats, would be NaN in the library. */
const modulo: Operator = (left, right) => {
  if (!isNumber(left) || !isNumber(right)) {
    throw new Error(`expected two numbers for %, got ${kindOf(left)} and ${kindOf(right)}`);
  }
  const divisor = Number(right.value);
  const remainder = Number(left.value) % divisor;
  const value = remainder !== 0 && remainder < 0 !== divisor < 0 ? remainder + divisor : remainder;
  return left.type === "FloatValue" || right.type === "FloatValue" ? new Float(value) : new Int(value);
};

/** `+` of two numbers, texts or lists; other pairs, which the library would join as texts, are errors. */
const sum: Operator = (left, right) => {
  const kinds = [left, right].map((value) => (isNumber(value) ? "number" : value.type));
  if (kinds[0] === kinds[1] && ["number", "StringValue", "ArrayValue"].includes(kinds[0]!)) return;
  throw new Error(`expected two texts, numbers or lists for +, got ${kindOf(left)} and ${kindOf(right)}`);
};

export const OPERATORS: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ["==", (left, right) => new Bool(equal(left, right))],
  ["!=", (left, right) => new Bool(!equal(left, right))],
  ["~", (left, right) => new Str(str(left) + str(right))],
  ["+", sum],
  ["%", modulo],
  ["in", membership(true)],
  ["not in", membership(false)],
]);
