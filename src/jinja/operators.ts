/** Operators that Python and the library compute in different ways. */
import type { Value } from "./library.ts";
import { str } from "./printing.ts";
import { Bool, equal, Float, Int, isNumber, kindOf, Str } from "./values.ts";

/** Nothing for values that the library is right for. */
type Operator = (left: Value, right: Value) => Value | undefined;

/** `in`, or `not in`. */
function membership(isWanted: boolean): Operator {
  return (left, right) => {
    if (right.type !== "ArrayValue") return;
    return new Bool(right.value.some((item) => equal(left, item)) === isWanted);
  };
}

/** With the divisor's sign. Python formats texts with it; the library would write NaN. */
const remainder: Operator = (left, right) => {
  if (!isNumber(left) || !isNumber(right)) {
    throw new Error(`expected two numbers for %, got ${kindOf(left)} and ${kindOf(right)}`);
  }
  const divisor = Number(right.value);
  const rest = Number(left.value) % divisor;
  const value = rest !== 0 && rest < 0 !== divisor < 0 ? rest + divisor : rest;
  return left.type === "FloatValue" || right.type === "FloatValue" ? new Float(value) : new Int(value);
};

/** Of alike values; the library writes out what is none, into texts as well. */
const sum: Operator = (left, right) => {
  const kinds = [left, right].map((value) => (isNumber(value) ? "number" : value.type));
  if (kinds[0] === kinds[1] && ["number", "StringValue", "ArrayValue"].includes(kinds[0]!)) return;
  throw new Error(`expected two texts, numbers or lists to add, got ${kindOf(left)} and ${kindOf(right)}`);
};

export const OPERATORS: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ["==", (left, right) => new Bool(equal(left, right))],
  ["!=", (left, right) => new Bool(!equal(left, right))],
  ["~", (left, right) => new Str(str(left) + str(right))],
  ["+", sum],
  ["%", remainder],
  ["in", membership(true)],
  ["not in", membership(false)],
]);
