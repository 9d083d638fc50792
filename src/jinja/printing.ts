/** Values as texts: Python's `str` and `repr`, and jinja2's `tojson`. Control characters stay as they are. */
import type { Value } from "./library.ts";
import { isNumber, kindOf, Tuple } from "./values.ts";

/** Python's `str`. @throws Error for values outside JSON, and for numbers that are not exact */
export function str(value: Value): string {
  return value.type === "StringValue" ? value.value : repr(value);
}

function repr(value: Value): string {
  if (value.type === "StringValue") return quote(value.value);
  if (value.type === "BooleanValue") return value.value ? "True" : "False";
  if (value.type === "NullValue") return "None";
  if (value.type === "ObjectValue") {
    return `{${Array.from(value.value, ([key, item]) => `${quote(key)}: ${repr(item)}`).join(", ")}}`;
  }
  if (value.type !== "ArrayValue") return printNumber(value);
  const items = value.value.map(repr).join(", ");
  if (!(value instanceof Tuple)) return `[${items}]`;
  return value.value.length === 1 ? `(${items},)` : `(${items})`;
}

/** Options of Python's `json.dumps`. */
export interface JsonStyle {
  readonly quote: (text: string) => string;
  readonly sortKeys: boolean;
  /** Spaces for each level; null for one line. */
  readonly indent: number | null;
  /** Between items, and behind a key. */
  readonly separators: readonly [string, string];
}

/** As `htmlsafe_json_dumps` of jinja2: ASCII, sorted keys, and escapes for the special characters of HTML. */
export const SAFE_JSON: JsonStyle = {
  quote: (text) => JSON.stringify(text).replace(/[<>&'\u007f-\uffff]/g, escapeUnit),
  sortKeys: true,
  indent: null,
  separators: [", ", ": "],
};

/** Quotes texts with the special characters of HTML as they are. @param isAscii - whether to escape all beyond ASCII */
export function jsonQuoter(isAscii: boolean): JsonStyle["quote"] {
  if (!isAscii) return JSON.stringify;
  return (text) => JSON.stringify(text).replace(/[\u007f-\uffff]/g, escapeUnit);
}

/** Python's `json.dumps`. @throws Error as `str` */
export function json(value: Value, style: JsonStyle, depth = 0): string {
  const { quote, sortKeys, indent, separators } = style;
  if (value.type === "StringValue") return quote(value.value);
  if (value.type === "BooleanValue") return String(value.value);
  if (value.type === "NullValue") return "null";
  const line = (level: number): string => (indent === null ? "" : `\n${" ".repeat(indent * level)}`);
  const inside = (items: readonly string[]): string => {
    if (items.length === 0) return "";
    return line(depth + 1) + items.join(separators[0] + line(depth + 1)) + line(depth);
  };
  const inner = (item: Value): string => json(item, style, depth + 1);
  if (value.type === "ArrayValue") return `[${inside(value.value.map(inner))}]`;
  if (value.type !== "ObjectValue") return printNumber(value);
  const entries = [...value.value];
  if (sortKeys) entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${inside(entries.map(([key, item]) => quote(key) + separators[1] + inner(item)))}}`;
}

const ESCAPES: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** A text as `repr` writes it. */
function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inner = text.replace(/[\\\n\r\t]/g, (character) => ESCAPES[character]!);
  return mark + inner.replaceAll(mark, `\\${mark}`) + mark;
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** A 1.0 of a record is printed as 1: parsed JSON has one kind of number. */
function printNumber(value: Value): string {
  if (!isNumber(value)) throw new Error(`expected a value to print, got ${kindOf(value)}`);
  const number = Number(value.value);
  const isFloat = value.type === "FloatValue";
  if (isFloat ? !Number.isFinite(number) : !Number.isSafeInteger(number)) {
    throw new Error(`expected finite numbers, whole ones below 2^53, got ${number}`);
  }
  return isFloat ? printFloat(number) : String(number);
}

/** A float as Python prints it: exponents of two digits, from 1e+16 on and below 1e-04. */
function printFloat(value: number): string {
  const [digits, exponent] = value.toExponential().split("e") as [string, string];
  if (Number(exponent) < -4 || Number(exponent) >= 16) {
    return `${digits}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
  }
  if (Object.is(value, -0)) return "-0.0";
  return Number.isInteger(value) ? `${value}.0` : String(value);
}
