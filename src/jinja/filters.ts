/** Filters of jinja2 and methods of Python's values that the library lacks or computes differently. */
import type { Value } from "./library.ts";
import { json, jsonQuoter, SAFE_JSON, str } from "./printing.ts";
import {
  capitalize,
  codePointIndex,
  occurrences,
  replace,
  type Side,
  strip,
  titleLetters,
  titleWords,
} from "./text.ts";
import { Bool, equal, Float, Int, isNumber, itemsOf, kindOf, List, Str, Tuple } from "./values.ts";

/** A filter or a method. */
export interface Operation {
  /** Names of its arguments, in order. */
  readonly parameters: readonly string[];
  /** Undefined for values that the library computes correctly. */
  apply(value: Value, args: Readonly<Record<string, Value>>): Value | undefined;
}

function operation(apply: Operation["apply"], ...parameters: readonly string[]): Operation {
  return { parameters, apply };
}

function ofText(change: (text: string) => string): Operation {
  return operation((value) => (value.type === "StringValue" ? new Str(change(value.value)) : undefined));
}

/** An operation on texts that also takes other values, as they are printed. */
function onPrinted({ parameters, apply }: Operation): Operation {
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

/** A method of a text whose arguments are texts. */
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

/** Index of an item in a list or, in code points, of a text in another; -1 where it is missing. */
function positionIn(value: Value, sought: Value): number {
  if (value.type === "StringValue") return codePointIndex(value.value, requireText(sought));
  return itemsOf(value).findIndex((item) => equal(item, sought));
}

const position = operation((value, { value: sought }) => {
  if (value.type === "ObjectValue" || sought === undefined) return;
  const found = positionIn(value, sought);
  if (found >= 0) return new Int(found);
  throw new Error(`index: expected a part of ${kindOf(value)}, got ${str(sought)}`);
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

/** Converts numbers, and texts that spell one; other values become the default. */
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

/** Items without repetitions; texts that differ in case alone are the same. */
const unique = operation((value) => {
  const key = (item: Value): Value =>
    item.type === "StringValue" ? new Str(item.value.toLowerCase()) : item;
  const kept: Value[] = [];
  for (const item of itemsOf(value)) {
    if (!kept.some((other) => equal(key(item), key(other)))) kept.push(item);
  }
  return new List(kept);
});

/** Of a text, where attributes are sought that characters do not have: no undefined value is true, or equals one. */
const byAttribute = operation(
  (value, { test }) => {
    const isFalse = test === undefined || ["equalto", "eq", "=="].includes(str(test));
    return value.type === "StringValue" && isFalse ? new List([]) : undefined;
  },
  "attr",
  "test",
  "value",
);

const replacing = operation(
  (value, { old, new: other, count }) => {
    if (value.type !== "StringValue") return;
    if (old === undefined || other === undefined)
      throw new Error("expected the arguments old and new, got fewer");
    const times = count?.type === "IntegerValue" && count.value >= 0 ? count.value : undefined;
    return new Str(replace(value.value, { old: str(old), new: str(other), times }));
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
    const [itemSeparator = isIndented ? "," : ", ", keySeparator = ": "] =
      separators?.type === "ArrayValue" ? separators.value.map(str) : [];
    const style = {
      quote: jsonQuoter(ascii?.value === true),
      sortKeys: sorted?.value === true,
      indent: isIndented ? indent.value : null,
      separators: [itemSeparator, keySeparator],
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
  ["selectattr", byAttribute],
  ["items", items],
  ["trim", onPrinted(stripping("start", "end"))],
  ["upper", onPrinted(ofText((text) => text.toUpperCase()))],
  ["lower", onPrinted(ofText((text) => text.toLowerCase()))],
  ["capitalize", onPrinted(ofText(capitalize))],
  ["title", onPrinted(ofText(titleWords))],
  ["replace", onPrinted(replacing)],
]);
