/** Filters of jinja2, and methods of Python's values, that the library has not or computes in another way. */
import type { Value } from "./library.ts";
import { json, quotedAs, SAFE_JSON, str } from "./printing.ts";
import {
  capitalize,
  codePointIndex,
  occurrences,
  replaced,
  type Side,
  strip,
  titleLetters,
  titleWords,
} from "./text.ts";
import { Bool, equal, Float, Int, isNumber, itemsOf, kindOf, List, Str, Tuple } from "./values.ts";

/** A filter or a method. */
export interface Operation {
  /** Names of its arguments, in their order. */
  readonly parameters: readonly string[];
  /** Nothing for values that the library is right for. */
  apply(value: Value, args: Readonly<Record<string, Value>>): Value | undefined;
}

function operation(apply: Operation["apply"], ...parameters: readonly string[]): Operation {
  return { parameters, apply };
}

function ofText(change: (text: string) => string): Operation {
  return operation((value) => (value.type === "StringValue" ? new Str(change(value.value)) : undefined));
}

/** An operation of texts on what is none as well, which is printed first. */
function printed({ parameters, apply }: Operation): Operation {
  return operation((value, args) => apply(new Str(str(value)), args), ...parameters);
}

function stripping(...sides: readonly Side[]): Operation {
  return operation((value, { chars }) => {
    if (value.type !== "StringValue") return;
    return new Str(strip(value.value, chars?.type === "StringValue" ? chars.value : undefined, sides));
  }, "chars");
}

const items = operation((value) => {
  if (value.type !== "ObjectValue") return;
  return new List(Array.from(value.value, ([key, item]) => new Tuple([new Str(key), item])));
});

/** A method of a text that takes texts. */
function withTexts(
  apply: (text: string, ...others: readonly string[]) => Value,
  ...parameters: readonly string[]
): Operation {
  return operation(
    (value, args) => {
      if (value.type !== "StringValue") return;
      return apply(value.value, ...parameters.map((name) => requireText(args[name])));
    },
    ...parameters,
  );
}

function requireText(value: Value | undefined): string {
  if (value?.type === "StringValue") return value.value;
  throw new Error(`expected a text, got ${value === undefined ? "none" : kindOf(value)}`);
}

const joining = operation((value, { iterable }) => {
  if (value.type !== "StringValue" || iterable === undefined) return;
  return new Str(itemsOf(iterable).map(requireText).join(value.value));
}, "iterable");

/** Of an item in a list, or of a text in another, the latter in code points; -1 for none. */
function positionIn(value: Value, sought: Value): number {
  if (value.type === "StringValue") return codePointIndex(value.value, requireText(sought));
  return itemsOf(value).findIndex((item) => equal(item, sought));
}

const position = operation((value, { value: sought }) => {
  if (value.type === "ObjectValue" || sought === undefined) return;
  const found = positionIn(value, sought);
  if (found >= 0) return new Int(found);
  throw new Error(`index: expected something in ${kindOf(value)}, got ${str(sought)}`);
}, "value");

const counting = operation((value, { value: sought }) => {
  if (sought === undefined) return;
  if (value.type === "StringValue") return new Int(occurrences(value.value, requireText(sought)));
  if (value.type !== "ArrayValue") return;
  return new Int(value.value.filter((item) => equal(item, sought)).length);
}, "value");

export const METHODS: ReadonlyMap<string, Operation> = new Map([
  ["strip", stripping("start", "end")],
  ["lstrip", stripping("start")],
  ["rstrip", stripping("end")],
  ["capitalize", ofText(capitalize)],
  ["title", ofText(titleLetters)],
  ["items", items],
  ["join", joining],
  ["index", position],
  ["count", counting],
  ["find", withTexts((text, part) => new Int(codePointIndex(text, part)), "sub")],
  [
    "removeprefix",
    withTexts((text, part) => new Str(text.startsWith(part) ? text.slice(part.length) : text), "prefix"),
  ],
  [
    "removesuffix",
    withTexts(
      (text, part) => new Str(text.endsWith(part) ? text.slice(0, text.length - part.length) : text),
      "suffix",
    ),
  ],
  ["isdigit", withTexts((text) => new Bool(/^\p{Nd}+$/u.test(text)))],
]);

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** A number of what is one or a text that spells one. */
function toNumber(make: (number: number) => Value): Operation {
  return operation((value, { default: fallback = make(0) }) => {
    if (isNumber(value)) return make(Number(value.value));
    const text = value.type === "StringValue" ? value.value.trim() : "";
    return NUMBER.test(text) ? make(Number(text)) : fallback;
  }, "default");
}

const withDefault = operation(
  (value, { default_value: fallback = new Str(""), boolean }) => {
    const isMissing = value.type === "UndefinedValue" || (boolean?.value === true && !value.__bool__().value);
    return isMissing ? fallback : value;
  },
  "default_value",
  "boolean",
);

/** Texts are the same whatever their case. */
const unique = operation((value) => {
  const key = (item: Value): Value =>
    item.type === "StringValue" ? new Str(item.value.toLowerCase()) : item;
  const kept: Value[] = [];
  for (const item of itemsOf(value)) {
    if (!kept.some((other) => equal(key(item), key(other)))) kept.push(item);
  }
  return new List(kept);
});

const replacing = operation(
  (value, { old, new: other, count }) => {
    if (value.type !== "StringValue") return;
    if (old === undefined || other === undefined)
      throw new Error("expected arguments old and new, got fewer");
    const times = count?.type === "IntegerValue" && count.value >= 0 ? count.value : undefined;
    return new Str(replaced(value.value, { old: str(old), new: str(other), times }));
  },
  "old",
  "new",
  "count",
);

/** `tojson` of transformers (`_compile_jinja_template` of utils/chat_template_utils.py). */
export const PLAIN_JSON: Operation = operation(
  (value, { ensure_ascii: ascii, indent, separators, sort_keys: sorted }) => {
    if (value.type === "UndefinedValue") return;
    const isIndented = indent?.type === "IntegerValue";
    const given = separators?.type === "ArrayValue" ? separators.value.map(str) : [];
    const style = {
      quoted: quotedAs(ascii?.value === true),
      sortKeys: sorted?.value === true,
      indent: isIndented ? indent.value : null,
      separators: [given[0] ?? (isIndented ? "," : ", "), given[1] ?? ": "],
    } as const;
    return new Str(json(value, style));
  },
  "ensure_ascii",
  "indent",
  "separators",
  "sort_keys",
);

export const FILTERS: ReadonlyMap<string, Operation> = new Map([
  ["string", operation((value) => new Str(str(value)))],
  ["tojson", operation((value) => new Str(json(value, SAFE_JSON)))],
  ["list", operation((value) => new List(itemsOf(value)))],
  ["length", operation((value) => new Int(itemsOf(value).length))],
  [
    "join",
    operation(
      (value, { d }) =>
        new Str(
          itemsOf(value)
            .map(str)
            .join(d ? str(d) : ""),
        ),
      "d",
    ),
  ],
  ["int", toNumber((number) => new Int(Math.trunc(number)))],
  ["float", toNumber((number) => new Float(number))],
  ["default", withDefault],
  ["unique", unique],
  ["items", items],
  ["trim", printed(stripping("start", "end"))],
  ["upper", printed(ofText((text) => text.toUpperCase()))],
  ["lower", printed(ofText((text) => text.toLowerCase()))],
  ["capitalize", printed(ofText(capitalize))],
  ["title", printed(ofText(titleWords))],
  ["replace", printed(replacing)],
]);
