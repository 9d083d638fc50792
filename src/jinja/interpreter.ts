/**
 * The library's interpreter with what Python and jinja2 compute in another way: operators, filters, methods and tuples.
 * All else is the library's, which gets the parts of an expression that have their values already.
 */
import { METHODS, type Operation } from "./filters.ts";
import * as library from "./library.ts";
import { OPERATORS } from "./operators.ts";
import { Bool, itemsOf, kindOf, List, Str, Tuple, toValue } from "./values.ts";

type Node = library.Node;
type Value = library.Value;
type Scope = library.Environment;

/** In what environments of jinja2 differ. */
export interface Dialect {
  /**
   * `StrictUndefined`: what is undefined is an error wherever it is used. Else it is printed as nothing, and has
   * nothing in it.
   */
  readonly isStrict: boolean;
  readonly filters: ReadonlyMap<string, Operation>;
}

/** Filters that see that a value is undefined. */
const OF_UNDEFINED: ReadonlySet<string> = new Set(["default", "tojson", "items"]);

export class PythonInterpreter extends library.Interpreter {
  readonly #dialect: Dialect;

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
        return super.evaluate({ ...node, object: this.#whole(node, scope) }, scope);
      case "TupleLiteral":
        return new Tuple(node.value.map((item) => this.evaluate(item, scope)));
      case "BinaryExpression":
        return this.#operate(node, scope);
      case "CallExpression":
        return this.#call(node, scope);
      case "FilterExpression":
        return this.#filter(node, scope);
      case "For":
        return super.evaluate({ ...node, iterable: this.#iterable(node.iterable, scope) }, scope);
      case "FilterStatement":
        if (!this.#dialect.isStrict) return super.evaluate(node, scope);
        throw new Error("expected filters of values, got one of a block");
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
    const own = OPERATORS.get(operator)?.(left.value, right.value);
    return own ?? super.evaluate({ ...node, left, right }, scope);
  }

  /** What a loop goes over: the library's know no texts, and nothing of what is undefined. */
  #iterable(node: Node, scope: Scope): Node {
    if (node.type === "SelectExpression") {
      return { ...node, lhs: this.#iterable(node.lhs, scope), test: required(node.test) };
    }
    const value = this.#checked(this.evaluate(node, scope));
    const isText = value.type === "StringValue" || value.type === "UndefinedValue";
    return evaluated(isText ? new List(itemsOf(withoutUndefined(value))) : value);
  }

  /** What a part is taken of. @throws Error for an undefined value, which has none in any dialect */
  #whole({ object, property, computed }: library.MemberExpression, scope: Scope): library.Evaluated {
    const value = this.evaluate(object, scope);
    if (value.type !== "UndefinedValue") return evaluated(value);
    throw new Error(`expected a value with ${computed ? "parts" : property.value}, got an undefined one`);
  }

  /** `value if test` without an else, which gives nothing otherwise; that alone is no error in any dialect. */
  #select({ lhs, test }: library.SelectExpression, scope: Scope): Value {
    if (this.evaluate(required(test), scope).__bool__().value) return this.evaluate(lhs, scope);
    return this.#dialect.isStrict ? new Str("") : toValue(undefined);
  }

  /** The library's tests of what can be gone over know neither dicts nor what is undefined. */
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
    const object = this.#whole(callee, scope);
    const { value: name } = callee.property;
    const method = METHODS.get(name);
    const own = method?.apply(object.value, this.#arguments(method, args, scope));
    if (own !== undefined) return own;
    const called = evaluated(super.evaluate({ ...callee, object }, scope));
    requireFunction(called.value, `a known method of ${kindOf(object.value)}, got ${name}`);
    return super.evaluate({ ...node, callee: called }, scope);
  }

  #filter(node: library.FilterExpression, scope: Scope): Value {
    const { filter } = node;
    const [{ value: name }, args] =
      filter.type === "Identifier" ? [filter, []] : [filter.callee, filter.args];
    const given = this.evaluate(node.operand, scope);
    const value = name === "default" ? given : this.#checked(given);
    const operand = evaluated(OF_UNDEFINED.has(name) ? value : withoutUndefined(value));
    const operation = this.#dialect.filters.get(name);
    const own = operation?.apply(operand.value, this.#arguments(operation, args, scope));
    const result = own ?? super.evaluate({ ...node, operand }, scope);
    return name === "dictsort" ? new List(itemsOf(result).map((pair) => new Tuple(itemsOf(pair)))) : result;
  }

  /** @throws Error for an undefined value, where those are errors */
  #checked(value: Value): Value {
    if (!this.#dialect.isStrict || value.type !== "UndefinedValue") return value;
    throw new Error("expected a value, got an undefined one");
  }

  /** @throws Error for arguments that it does not take */
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

/** @throws Error for what cannot be called */
function requireFunction({ type }: Value, expectation: string): void {
  if (type !== "FunctionValue") throw new Error(`expected ${expectation}`);
}

function evaluated(value: Value): library.Evaluated {
  return { type: "Evaluated", value };
}

function required(part: Node): library.Required {
  return { type: "Required", part };
}

/** What is undefined is as good as an empty text. */
function withoutUndefined(value: Value): Value {
  return value.type === "UndefinedValue" ? new Str("") : value;
}
