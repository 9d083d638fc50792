/**
 * What renders templates in the thread of jinja.ts, as a program's text: plain JavaScript, since a worker's file would be found
 * neither by bundlers nor from sources.
 *
 * The library has JavaScript's values and the filters of chat templates. Here operators, filters, methods and printing are those of
 * Python and of jinja2 3.1 with undefined values that are errors; what the library has not and nobody needs stays an error.
 * Numbers of records are JavaScript's: 1.0 is 1.
 */
export const JINJA_WORKER: string = String.raw`
const { parentPort, workerData } = require("node:worker_threads");
const { Environment, Interpreter, Template, parse, tokenize } = require(workerData.jinja);
const { prototype } = Interpreter;
const original = Object.fromEntries(Object.getOwnPropertyNames(prototype).map((name) => [name, prototype[name]]));

// Classes of values, which the library does not export.
const made = (node) => new Interpreter().evaluate(node).constructor;
const [Str, Int, Float] = ["String", "Integer", "Float"].map((kind) => made({ type: kind + "Literal", value: 0 }));
const [List, Tuple] = ["Array", "Tuple"].map((kind) => made({ type: kind + "Literal", value: [] }));
const Dict = made({ type: "ObjectLiteral", value: new Map() });
const Bool = made({ type: "UnaryExpression", operator: { value: "not" }, argument: { type: "StringLiteral", value: "" } });
const stringMethods = Object.getOwnPropertyDescriptor(Str.prototype, "builtins").get;
const Func = new Str("").builtins.get("upper").constructor;
const fail = (message) => {
  throw new Error(message);
};
const isNumber = (value) => value instanceof Int || value instanceof Float || value instanceof Bool;

// Printing.
const float = (value) => {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  if (Object.is(value, -0)) return "-0.0";
  const [digits, exponent] = value.toExponential().split("e");
  if (exponent < -4 || exponent >= 16) {
    return digits + "e" + exponent[0] + exponent.slice(1).padStart(2, "0");
  }
  return Number.isInteger(value) ? value + ".0" : String(value);
};
const whole = (value) => {
  return Number.isSafeInteger(value) ? String(value) : fail("expected whole numbers below 2^53, got " + value);
};
const ESCAPES = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };
const escaped = (character) => {
  const code = character.codePointAt(0);
  const [mark, digits] = code < 256 ? ["x", 2] : code < 65536 ? ["u", 4] : ["U", 8];
  return ESCAPES[character] ?? "\\" + mark + code.toString(16).padStart(digits, "0");
};
const quoted = (text) => {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inner = text.replace(/[\\\p{C}]|(?! )\p{Z}/gu, escaped).replaceAll(mark, "\\" + mark);
  return mark + inner + mark;
};
const written = (value) => {
  if (value.unprintable) fail("expected a value to print, got " + value.unprintable + ": |list makes a list of it");
  if (value.type === "NullValue") return "None";
  if (value instanceof Bool) return value.value ? "True" : "False";
  if (value instanceof Int) return whole(value.value);
  if (value instanceof Float) return float(value.value);
  if (value instanceof Str) return quoted(value.value);
  if (value instanceof Tuple) return "(" + value.value.map(written).join(", ") + (value.value.length === 1 ? ",)" : ")");
  if (value instanceof List) return "[" + value.value.map(written).join(", ") + "]";
  if (!(value instanceof Dict)) fail("expected a value to print, got " + kind(value));
  return "{" + Array.from(value.value, ([key, item]) => quoted(key) + ": " + written(item)).join(", ") + "}";
};
const kind = (value) => {
  return value.type === "UndefinedValue" ? "an undefined one" : value instanceof Func ? "a function" : value.type;
};
const text = (value) => (value instanceof Str ? value.value : written(value));
const SILENT = new Set(["Comment", "Macro", "Set"]);
prototype.evaluateBlock = function (statements, environment) {
  let result = "";
  for (const statement of statements) {
    const value = this.evaluate(statement, environment);
    if (!SILENT.has(statement.type)) result += text(value);
  }
  return new Str(result);
};

// Operators. Operands that have their values go to the library as nodes of a kind of their own.
prototype.evaluate = function (node, environment) {
  if (node?.type === "Evaluated") return node.value;
  const value = original.evaluate.call(this, node, environment);
  return value instanceof Tuple ? tuple(value.value) : value;
};
/** Of the type that loops take to pieces. */
const tuple = (items) => Object.assign(new Tuple(items), { type: "ArrayValue" });
const evaluated = (value) => ({ type: "Evaluated", value });
const equal = (a, b) => {
  if (isNumber(a) && isNumber(b)) return Number(a.value) === Number(b.value);
  if (a.constructor !== b.constructor) return false;
  if (a instanceof List) return a.value.length === b.value.length && a.value.every((item, i) => equal(item, b.value[i]));
  if (!(a instanceof Dict)) return a.value === b.value;
  return a.value.size === b.value.size && [...a.value].every(([key, item]) => b.value.has(key) && equal(item, b.value.get(key)));
};
const number = (value, ...from) => (from.some((each) => each instanceof Float) ? new Float(value) : new Int(value));
const OPERATORS = {
  "==": (a, b) => new Bool(equal(a, b)),
  "!=": (a, b) => new Bool(!equal(a, b)),
  "~": (a, b) => new Str(text(a) + text(b)),
  in: (a, b) => b instanceof List && new Bool(b.value.some((item) => equal(a, item))),
  "not in": (a, b) => b instanceof List && new Bool(!b.value.some((item) => equal(a, item))),
  "+": (a, b) => a instanceof Str !== b instanceof Str && fail("cannot add " + a.type + " and " + b.type),
  "/": (a, b) => isNumber(b) && Number(b.value) === 0 && fail("division by zero"),
  "%": (a, b) => {
    if (!isNumber(a) || !isNumber(b)) return false;
    const remainder = a.value % b.value;
    return number(remainder !== 0 && remainder < 0 !== b.value < 0 ? remainder + b.value : remainder, a, b);
  },
};
prototype.evaluateBinaryExpression = function (node, environment) {
  const operator = node.operator.value;
  if (operator === "and" || operator === "or") return original.evaluateBinaryExpression.call(this, node, environment);
  const [left, right] = [node.left, node.right].map((side) => this.evaluate(side, environment));
  for (const side of [left, right]) if (side.type === "UndefinedValue") fail("expected a value, got an undefined one");
  if (operator === "//" || operator === "%") OPERATORS["/"](left, right);
  const own = OPERATORS[operator]?.(left, right);
  if (own) return own;
  const sides = { left: evaluated(left), right: evaluated(right) };
  return original.evaluateBinaryExpression.call(this, { ...node, ...sides }, environment);
};
const TESTS = {
  eq: equal,
  equalto: equal,
  number: isNumber,
  iterable: (value) => value instanceof List || value instanceof Dict || value instanceof Str,
};
for (const [name, test] of Object.entries(TESTS)) new Environment().tests.set(name, test);

// A field of a record may have the name of a function, and is what is meant then; constants stay what they are.
const CONSTANTS = new Set(["true", "false", "none", "True", "False", "None"]);
Environment.prototype.declareVariable = function (name, value) {
  if (!CONSTANTS.has(name) || !this.variables.has(name)) this.variables.set(name, value);
  return value;
};

// Methods.
const SPACE = "\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const SPACES = new RegExp("[" + SPACE + "]+");
const isSpace = (character) => SPACES.test(character);
const stripped = (value, sides, characters) => {
  const letters = Array.from(value);
  const drop = characters === undefined ? isSpace : (letter) => characters.includes(letter);
  let [start, end] = [0, letters.length];
  if (sides !== "r") while (start < end && drop(letters[start])) start++;
  if (sides !== "l") while (end > start && drop(letters[end - 1])) end--;
  return letters.slice(start, end).join("");
};
const capital = (value) => {
  const [first = "", ...rest] = Array.from(value);
  return first.toUpperCase() + rest.join("").toLowerCase();
};
const strip = (sides) => (value, characters) => {
  if (characters === undefined || characters.type === "NullValue") return stripped(value, sides);
  return characters instanceof Str ? stripped(value, sides, Array.from(characters.value)) : fail("strip: expected a text");
};
const words = (value) => value.split(SPACES).filter((word) => word !== "");
const METHODS = {
  strip: strip("both"),
  lstrip: strip("l"),
  rstrip: strip("r"),
  capitalize: capital,
  title: (value) => value.replace(/\p{Cased}+/gu, capital),
};
/** Arguments at most; the library ignores what it does not know. */
const METHOD_ARGUMENTS = { strip: 1, lstrip: 1, rstrip: 1, startswith: 1, endswith: 1, split: 2, replace: 3 };
Object.defineProperty(Str.prototype, "builtins", {
  get() {
    const all = Array.from(stringMethods.call(this), ([name, method]) => {
      const own = METHODS[name];
      const call = (args, scope) => {
        if (args.length > (METHOD_ARGUMENTS[name] ?? 0)) fail(name + ": expected fewer arguments");
        if (name === "split" && args.length === 0) return new List(words(this.value).map((word) => new Str(word)));
        return own ? new Str(own(this.value, ...args)) : method.value(args, scope);
      };
      return [name, new Func(call)];
    });
    return new Map(all.filter(([name]) => name !== "length"));
  },
});
Object.defineProperty(List.prototype, "builtins", { get: () => new Map() });
const pairs = (dict) => Array.from(dict.value, ([key, value]) => tuple([new Str(key), value]));
const view = (name, list) => Object.assign(list, { unprintable: name });
Dict.prototype.items = function () {
  return view("dict_items", new List(pairs(this)));
};
for (const name of ["keys", "values"]) {
  const method = Dict.prototype[name];
  Dict.prototype[name] = function () {
    return view("dict_" + name, method.call(this));
  };
}
prototype.evaluateMemberExpression = function (node, environment) {
  const object = this.evaluate(node.object, environment);
  const rest = { ...node, object: evaluated(object) };
  if (!node.computed || node.property.type === "SliceExpression") {
    return original.evaluateMemberExpression.call(this, rest, environment);
  }
  const property = this.evaluate(node.property, environment);
  if (object instanceof Str && property instanceof Int) {
    const letters = Array.from(object.value).map((letter) => new Str(letter));
    return this.evaluateMemberExpression({ ...rest, object: evaluated(new List(letters)), property: evaluated(property) });
  }
  return original.evaluateMemberExpression.call(this, { ...rest, property: evaluated(property) }, environment);
};

// Filters.
const jsonText = (value) => {
  const plain = JSON.stringify(value);
  return plain.replace(/[<>&'\x7f-\uffff]/g, (unit) => {
    return unit === "\x7f" ? unit : "\\u" + unit.charCodeAt(0).toString(16).padStart(4, "0");
  });
};
const json = (value, indent, depth = 1) => {
  if (value instanceof Str) return jsonText(value.value);
  if (value.type === "NullValue") return "null";
  if (value instanceof Bool) return String(value.value);
  if (isNumber(value)) return written(value);
  const isDict = value instanceof Dict;
  if (!isDict && !(value instanceof List)) fail("tojson: expected a value, got " + kind(value));
  const keys = isDict ? [...value.value.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))) : [];
  const parts = isDict
    ? keys.map((key) => jsonText(key) + ": " + json(value.value.get(key), indent, depth + 1))
    : value.value.map((item) => json(item, indent, depth + 1));
  const [open, close] = isDict ? "{}" : "[]";
  if (indent === undefined || parts.length === 0) return open + parts.join(", ") + close;
  const line = (level) => "\n" + " ".repeat(indent * level);
  return open + line(depth) + parts.join("," + line(depth)) + line(depth - 1) + close;
};
const INTEGER = /^[+-]?\d+(_\d+)*$/;
const NUMBER = /^[+-]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)(e[+-]?\d+)?$/i;
const parsed = (value, pattern) => {
  if (isNumber(value)) return Number(value.value);
  const digits = value instanceof Str ? stripped(value.value, "both") : "";
  if (/^[+-]?(inf|infinity|nan)$/i.test(digits)) fail("expected a finite number, got " + digits);
  return pattern.test(digits) ? Number(digits.replaceAll("_", "")) : undefined;
};
const unique = (list) => {
  const key = (item) => (item instanceof Str ? new Str(item.value.toLowerCase()) : item);
  const seen = [];
  for (const item of list.value) if (!seen.some((other) => equal(key(item), key(other)))) seen.push(item);
  return view("an iterator", new List(seen));
};
const WORD_START = new RegExp("([-({\\[<" + SPACE + "]+)");
const joined = (value, separator) => {
  const items = value instanceof Str ? Array.from(value.value) : value instanceof List && value.value.map(text);
  return new Str((items || fail("join: expected a list, got " + kind(value))).join(separator && text(separator) || ""));
};
const ifText = (of) => (value) => value instanceof Str && of(value.value);
/** By the operand, positional arguments and those with names; nothing where the library is right. */
const FILTERS = {
  join: (value, [separator], names) => joined(value, separator ?? names.get("d")),
  string: (value) => new Str(text(value)),
  tojson: (value, _, names) => new Str(json(value, names.get("indent")?.value ?? undefined)),
  list: (value) => value instanceof List && new List([...value.value]),
  reverse: (value) => value instanceof List && view("an iterator", new List(value.value.toReversed())),
  unique: (value) => value instanceof List && unique(value),
  items: (value) => value instanceof Dict && view("an iterator", new List(pairs(value))),
  length: ifText((value) => new Int(Array.from(value).length)),
  trim: ifText((value) => new Str(stripped(value, "both"))),
  capitalize: ifText((value) => new Str(capital(value))),
  title: ifText((value) => new Str(value.split(WORD_START).map(capital).join(""))),
  int: (value, [fallback], names) => {
    const found = parsed(value, INTEGER) ?? parsed(value, NUMBER);
    return found === undefined ? fallback ?? names.get("default") ?? new Int(0) : new Int(Math.trunc(found));
  },
  float: (value, [fallback], names) => {
    const found = parsed(value, NUMBER);
    return found === undefined ? fallback ?? names.get("default") ?? new Float(0) : new Float(found);
  },
};
/** Arguments at most, and the names of those that may have one; the library ignores what it does not know. */
const FILTER_ARGUMENTS = {
  tojson: [0, "indent"],
  join: [1, "d"],
  int: [1, "default"],
  float: [1, "default"],
  default: [2, "boolean"],
  sort: [3, "reverse", "case_sensitive", "attribute"],
  dictsort: [3, "case_sensitive", "by", "reverse"],
  map: [0, "attribute", "default"],
  indent: [3, "width", "first", "blank"],
  replace: [3, "count"],
  selectattr: [3],
  rejectattr: [3],
};
prototype.applyFilter = function (operand, node, environment) {
  const name = (node.callee ?? node).value;
  const [args, names] = this.evaluateArguments(node.args ?? [], environment);
  const [most, ...known] = FILTER_ARGUMENTS[name] ?? [0];
  const unknown = [...names.keys()].find((each) => !known.includes(each));
  if (args.length > most || unknown !== undefined) fail(name + ": expected no such argument" + (unknown ? ": " + unknown : ""));
  if (operand.type === "UndefinedValue" && name !== "default") fail(name + ": expected a value, got an undefined one");
  const own = Object.hasOwn(FILTERS, name) && FILTERS[name](operand, args, names);
  if (own) return own;
  const result = original.applyFilter.call(this, operand, node, environment);
  if (name !== "dictsort") return result;
  return new List(result.value.map((pair) => tuple(pair.value)));
};

const templates = workerData.templates.map((template) => {
  return Object.assign(new Template(""), { parsed: parse(tokenize(template)) });
});
for (const [record, values] of workerData.records.entries()) {
  try {
    parentPort.postMessage({ record, texts: templates.map((template) => template.render(values)) });
  } catch (error) {
    parentPort.postMessage({ record, problem: String(error.message) });
    break;
  }
}
`;
