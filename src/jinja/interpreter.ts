/**
 * The library's interpreter, corrected where Python and jinja2 compute differently: operators, filters, methods and
 * tuples. All else is left to the library, which is given the parts of an expression as values.
 */
import { METHODS, type Operation } from "./filters.ts";
import * as library from "./library.ts";
import { OPERATORS } from "./operators.ts";
import { Bool, Int, itemsOf, kindOf, List, Str, Tuple, toValue } from "./values.ts";

type Node = library.Node;
type Value = library.Value;
type Scope = library.Environment;

/** Settings of a jinja2 environment. */
export interface Dialect {
  /**
   * `StrictUndefined`: an undefined value is an error wherever it is used. Otherwise it is printed as nothing, and is
   * empty to iterate over.
   */
  readonly isStrict: boolean;
  readonly filters: ReadonlyMap<string, Operation>;
}

/** Filters that get an undefined value as it is; the others get an empty text. */
const TAKES_UNDEFINED: ReadonlySet<string> = new Set(["default", "tojson", "items"]);

const LOOP_START: library.LoopStart = { type: "LoopStart" };
/** The value of a statement that prints nothing. */
const NOTHING: Value = toValue(null);

export class PythonInterpreter extends library.Interpreter {
  readonly #dialect: Dialect;
  /** The last text that was indexed, and its characters. */
  #indexed: { readonly text: string; readonly letters: readonly string[] } = { text: "", letters: [] };

  constructor(scope: Scope, dialect: Dialect) {
    super(scope);
    this.#dialect = dialect;
  }

  override evaluate(node: Node | undefined, scope: Scope): Value {
    switch (node?.type) {
      case "Evaluated":
        return node.value;
      case "Required":
        return this.#checked(this.evaluate(node.part, scope));
      case "If":
        return super.evaluate({ ...node, test: required(node.test) }, scope);
      case "Ternary":
        return super.evaluate({ ...node, condition: required(node.condition) }, scope);
      case "UnaryExpression":
        return super.evaluate({ ...node, argument: required(node.argument) }, scope);
      case "SelectExpression":
        return this.#select(node, scope);
      case "TestExpression":
        return this.#test(node, scope);
      case "MemberExpression":
        return this.#member(node, scope);
      case "TupleLiteral":
        return new Tuple(node.value.map((item) => this.evaluate(item, scope)));
      case "BinaryExpression":
        return this.#operate(node, scope);
      case "CallExpression":
        return this.#call(node, scope);
      case "FilterExpression":
        return this.#filter(node, scope);
      case "For":
        return this.#loop(node, scope);
      case "LoopStart":
        return this.#addDepth(scope);
      case "FilterStatement":
        if (!this.#dialect.isStrict) return super.evaluate(node, scope);
        throw new Error("expected filters on values, got one on a block");
      default:
        return super.evaluate(node, scope);
    }
  }

  #operate(node: library.BinaryExpression, scope: Scope): Value {
    const operator = node.operator.value;
    if (operator === "and" || operator === "or") {
      return super.evaluate({ ...node, left: required(node.left) }, scope);
    }
    const side = (part: Node): library.Evaluated => {
      const value = this.#checked(this.evaluate(part, scope));
      return evaluated(operator === "~" ? withoutUndefined(value) : value);
    };
    const [left, right] = [side(node.left), side(node.right)];
    const result = OPERATORS.get(operator)?.(left.value, right.value);
    return result ?? super.evaluate({ ...node, left, right }, scope);
  }

  #loop(node: library.For, scope: Scope): Value {
    const iterable = this.#iterable(node.iterable, scope);
    return super.evaluate({ ...node, iterable, body: [LOOP_START, ...node.body] }, scope);
  }

  /** Gives `loop` its depth, which the library leaves out: the first, as its parser takes no `recursive`. */
  #addDepth(scope: Scope): Value {
    const loop = super.evaluate({ type: "Identifier", value: "loop" }, scope);
    if (loop.type === "ObjectValue") {
      const parts = loop.value as Map<string, Value>;
      parts.set("depth", new Int(1)).set("depth0", new Int(0));
    }
    return NOTHING;
  }

  /** The iterable of a loop. The library's loops take neither texts nor undefined values: those become lists. */
  #iterable(node: Node, scope: Scope): Node {
    if (node.type === "SelectExpression") {
      return { ...node, lhs: this.#iterable(node.lhs, scope), test: required(node.test) };
    }
    const value = this.#checked(this.evaluate(node, scope));
    const isText = value.type === "StringValue" || value.type === "UndefinedValue";
    return evaluated(isText ? new List(itemsOf(withoutUndefined(value))) : value);
  }

  /** The library counts a text's characters in UTF-16 code units for an index, though not for a slice. */
  #member(node: library.MemberExpression, scope: Scope): Value {
    const object = this.#object(node, scope);
    const { property, computed } = node;
    if (object.value.type !== "StringValue" || !computed || property.type === "SliceExpression")
      return super.evaluate({ ...node, object }, scope);
    const index = this.evaluate(property, scope);
    if (index.type === "IntegerValue") return toValue(this.#lettersOf(object.value.value).at(index.value));
    return super.evaluate({ ...node, object, property: evaluated(index) }, scope);
  }

  #lettersOf(text: string): readonly string[] {
    if (this.#indexed.text !== text) this.#indexed = { text, letters: Array.from(text) };
    return this.#indexed.letters;
  }

  /** The object of a member expression. @throws Error for an undefined one, in either dialect */
  #object(node: library.MemberExpression, scope: Scope): library.Evaluated {
    const value = this.evaluate(node.object, scope);
    if (value.type !== "UndefinedValue") return evaluated(value);
    const part = node.computed ? "parts" : node.property.value;
    throw new Error(`expected a value with ${part}, got an undefined one`);
  }

  /** `value if test` without an else: where the test fails, its undefined value is no error in either dialect. */
  #select({ lhs, test }: library.SelectExpression, scope: Scope): Value {
    if (this.evaluate(required(test), scope).__bool__().value) return this.evaluate(lhs, scope);
    return this.#dialect.isStrict ? new Str("") : toValue(undefined);
  }

  /** The library's tests `iterable` and `sequence` know neither dicts nor undefined values. */
  #test(node: library.TestExpression, scope: Scope): Value {
    const value = this.evaluate(node.operand, scope);
    if (!["iterable", "sequence"].includes(node.test.value)) {
      return super.evaluate({ ...node, operand: evaluated(value) }, scope);
    }
    const { type } = withoutUndefined(this.#checked(value));
    return new Bool(["ArrayValue", "ObjectValue", "StringValue"].includes(type) !== node.negate);
  }

  #call(node: library.CallExpression, scope: Scope): Value {
    const { callee, args } = node;
    if (callee.type !== "MemberExpression" || callee.computed) {
      const called = evaluated(this.evaluate(callee, scope));
      const name = callee.type === "Identifier" ? callee.value : kindOf(called.value);
      requireFunction(called.value, `a known function, got ${name}`);
      return super.evaluate({ ...node, callee: called }, scope);
    }
    const object = this.#object(callee, scope);
    const { value: name } = callee.property;
    const method = METHODS.get(name);
    const result = method?.apply(object.value, this.#arguments(method, args, scope));
    if (result !== undefined) return result;
    const called = evaluated(super.evaluate({ ...callee, object }, scope));
    requireFunction(called.value, `a known method of ${kindOf(object.value)}, got ${name}`);
    return super.evaluate({ ...node, callee: called }, scope);
  }

  #filter(node: library.FilterExpression, scope: Scope): Value {
    const { filter } = node;
    const [{ value: name }, args] =
      filter.type === "Identifier" ? [filter, []] : [filter.callee, filter.args];
    const input = this.evaluate(node.operand, scope);
    const value = name === "default" ? input : this.#checked(input);
    const operand = evaluated(TAKES_UNDEFINED.has(name) ? value : withoutUndefined(value));
    const operation = this.#dialect.filters.get(name);
    const result =
      operation?.apply(operand.value, this.#arguments(operation, args, scope)) ??
      super.evaluate({ ...node, operand }, scope);
    return name === "dictsort" ? new List(itemsOf(result).map((pair) => new Tuple(itemsOf(pair)))) : result;
  }

  /** @throws Error for an undefined value, in the strict dialect */
  #checked(value: Value): Value {
    if (!this.#dialect.isStrict || value.type !== "UndefinedValue") return value;
    throw new Error("expected a defined value, got an undefined one");
  }

  /** Arguments of an operation, by name. @throws Error for arguments that it does not take */
  #arguments({ parameters }: Operation, nodes: readonly Node[], scope: Scope): Record<string, Value> {
    const values = nodes.map((node, index): [string, Value] => {
      const isNamed = node.type === "KeywordArgumentExpression";
      const name = isNamed ? node.key.value : parameters[index];
      if (name === undefined || !parameters.includes(name)) {
        throw new Error(`expected arguments (${parameters.join(", ")}), got ${name ?? "more"}`);
      }
      return [name, this.evaluate(isNamed ? node.value : node, scope)];
    });
    return Object.fromEntries(values);
  }
}

/** @throws Error for a value that cannot be called */
function requireFunction({ type }: Value, expectation: string): void {
  if (type !== "FunctionValue") throw new Error(`expected ${expectation}`);
}

function evaluated(value: Value): library.Evaluated {
  return { type: "Evaluated", value };
}

function required(part: Node): library.Required {
  return { type: "Required", part };
}

/** The value, or an empty text in place of an undefined one. */
function withoutUndefined(value: Value): Value {
  return value.type === "UndefinedValue" ? new Str("") : value;
}
