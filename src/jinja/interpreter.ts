/**
 * The library's interpreter with what Python and jinja2 compute in another way: operators, filters, methods and tuples. All
 * else is the library's, which gets the parts of an expression that have their values already.
 */
import { FILTERS, METHODS, type Operation } from "./filters.ts";
import * as library from "./library.ts";
import { OPERATORS } from "./operators.ts";
import { Tuple } from "./values.ts";

type Node = library.Node;
type Value = library.Value;
type Scope = library.Environment;

export class PythonInterpreter extends library.Interpreter {
  override evaluate(node: Node | undefined, scope: Scope): Value {
    switch (node?.type) {
      case "Evaluated":
        return node.value;
      case "TupleLiteral":
        return new Tuple(node.value.map((item) => this.evaluate(item, scope)));
      case "BinaryExpression":
        return this.#operate(node, scope);
      case "CallExpression":
        return this.#call(node, scope);
      case "FilterExpression":
        return this.#filter(node, scope);
      case "FilterStatement":
        throw new Error("expected filters of values, got one of a block");
      default:
        return super.evaluate(node, scope);
    }
  }

  #operate(node: library.BinaryExpression, scope: Scope): Value {
    const operator = node.operator.value;
    if (operator === "and" || operator === "or") return super.evaluate(node, scope);
    const left = evaluated(defined(this.evaluate(node.left, scope)));
    const right = evaluated(defined(this.evaluate(node.right, scope)));
    const own = OPERATORS.get(operator)?.(left.value, right.value);
    return own ?? super.evaluate({ ...node, left, right }, scope);
  }

  #call(node: library.CallExpression, scope: Scope): Value {
    const { callee, args } = node;
    if (callee.type !== "MemberExpression" || callee.computed) return super.evaluate(node, scope);
    const object = evaluated(this.evaluate(callee.object, scope));
    const method = METHODS.get(callee.property.value);
    const own = method?.apply(object.value, this.#arguments(method, args, scope));
    return own ?? super.evaluate({ ...node, callee: { ...callee, object } }, scope);
  }

  #filter(node: library.FilterExpression, scope: Scope): Value {
    const { filter } = node;
    const [{ value: name }, args] =
      filter.type === "Identifier" ? [filter, []] : [filter.callee, filter.args];
    const operand = evaluated(this.evaluate(node.operand, scope));
    if (name !== "default") defined(operand.value);
    const operation = FILTERS.get(name);
    const own = operation?.apply(operand.value, this.#arguments(operation, args, scope));
    return own ?? super.evaluate({ ...node, operand }, scope);
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

function evaluated(value: Value): library.Evaluated {
  return { type: "Evaluated", value };
}

/** @throws Error for an undefined value, as with `StrictUndefined` of jinja2 */
function defined(value: Value): Value {
  if (value.type === "UndefinedValue") throw new Error("expected a value, got an undefined one");
  return value;
}
