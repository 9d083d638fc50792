/** Values as texts: Python's `str` and `repr`, and jinja2's `tojson`. Control characters stay as they are. */
import type { Value } from "./library.ts";
import { isNumber, Tuple } from "./values.ts";

/** @throws Error for what is no value of JSON, and for numbers that are not exact */
export function str(value: Value): string {
  return value.type === "StringValue" ? value.value : repr(value);
}

function repr(value: Value): string {
  if (value.type === "StringValue") return quoted(value.value);
  if (value.type === "BooleanValue") return value.value ? "True" : "False";
  if (value.type === "NullValue") return "None";
  if (value.type === "ObjectValue") {
    return `{${Array.from(value.value, ([key, item]) => `${quoted(key)}: ${repr(item)}`).join(", ")}}`;
  }
  if (value.type !== "ArrayValue") return printedNumber(value);
  const items = value.value.map(repr).join(", ");
  if (!(value instanceof Tuple)) return `[${items}]`;
  return value.value.length === 1 ? `(${items},)` : `(${items})`;
}

/** As `htmlsafe_json_dumps` of jinja2 writes it: ASCII, sorted keys, no marks of HTML. */
export function json(value: Value): string {
  if (value.type === "StringValue") return quotedJson(value.value);
  if (value.type === "BooleanValue") return String(value.value);
  if (value.type === "NullValue") return "null";
  if (value.type === "ArrayValue") return `[${value.value.map(json).join(", ")}]`;
  if (value.type !== "ObjectValue") return printedNumber(value);
  const entries = [...value.value].sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, item]) => `${quotedJson(key)}: ${json(item)}`).join(", ")}}`;
}

const ESCAPES: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

function quoted(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inner = text.replace(/[\\\n\r\t]/g, (character) => ESCAPES[character]!);
  return mark + inner.replaceAll(mark, `\\${mark}`) + mark;
}

function quotedJson(text: string): string {
  const escaped = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(text).replace(/[<>&'\u0080-\uffff]/g, escaped);
}

/** Of records, 1.0 is 1: JSON has one kind of numbers here. */
function printedNumber(value: Value): string {
  if (!isNumber(value)) throw new Error(`expected a value to print, got ${value.type}`);
  const number = Number(value.value);
  const isFloat = value.type === "FloatValue";
  if (isFloat ? !Number.isFinite(number) : !Number.isSafeInteger(number)) {
    throw new Error(`expected finite numbers, whole ones below 2^53, got ${number}`);
  }
  return isFloat ? printedFloat(number) : String(number);
}

/** As Python prints it: exponents of two digits, from 1e+16 on and below 1e-04. */
function printedFloat(value: number): string {
  const [digits, exponent] = value.toExponential().split("e") as [string, string];
  if (Number(exponent) < -4 || Number(exponent) >= 16) {
    return `${digits}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
  }
  if (Object.is(value, -0)) return "-0.0";
  return Number.isInteger(value) ? `${value}.0` : String(value);
}
