/** Values of templates. The library does not export their classes, so they are taken from values that it makes. */
import * as library from "./library.ts";

type Value = library.Value;
type ClassOf<T extends Value> = new (value: T["value"]) => T;

/** A JSON value as a value of the library. */
export function toValue(value: unknown): Value {
  return new library.Environment().set("value", value);
}

function classOf<T extends Value>(example: unknown): ClassOf<T> {
  return toValue(example).constructor as ClassOf<T>;
}

export const Str: ClassOf<library.StringValue> = classOf("");
export const Bool: ClassOf<library.BooleanValue> = classOf(false);
export const Int: ClassOf<library.IntegerValue> = classOf(0);
export const Float: ClassOf<library.FloatValue> = classOf(0.5);
export const List: ClassOf<library.ArrayValue> = classOf([]);
/** The library's own tuples are not unpacked by loops. */
export class Tuple extends List {}

const KINDS: Readonly<Record<Value["type"], string>> = {
  StringValue: "a text",
  IntegerValue: "a number",
  FloatValue: "a number",
  BooleanValue: "a truth",
  ArrayValue: "a list",
  ObjectValue: "a dict",
  NamespaceValue: "a namespace",
  FunctionValue: "a function",
  NullValue: "None",
  UndefinedValue: "an undefined value",
};

/** The kind of a value in messages. */
export function kindOf({ type }: Value): string {
  return KINDS[type];
}

/** Whether a value is a number to arithmetic, where True is 1. */
export function isNumber(value: Value): value is library.NumberValue {
  return ["IntegerValue", "FloatValue", "BooleanValue"].includes(value.type);
}

/**
 * The items that a loop visits: those of a list, keys of a dict, characters of a text.
 * @throws Error for other values
 */
export function itemsOf(value: Value): readonly Value[] {
  if (value.type === "ArrayValue") return value.value;
  if (value.type === "ObjectValue") return Array.from(value.value.keys(), (key) => new Str(key));
  if (value.type === "StringValue") return Array.from(value.value, (character) => new Str(character));
  throw new Error(`expected a list, got ${kindOf(value)}`);
}

/** Whether Python's `==` holds. */
export function equal(a: Value, b: Value): boolean {
  if (isNumber(a) && isNumber(b)) return Number(a.value) === Number(b.value);
  if (a.constructor !== b.constructor) return false;
  if (a.type === "ArrayValue" && b.type === "ArrayValue") {
    return a.value.length === b.value.length && a.value.every((item, i) => equal(item, b.value[i]!));
  }
  if (a.type !== "ObjectValue" || b.type !== "ObjectValue") return a.value === b.value;
  const isSame = (key: string): boolean => b.value.has(key) && equal(a.value.get(key)!, b.value.get(key)!);
  return a.value.size === b.value.size && [...a.value.keys()].every(isSame);
}
