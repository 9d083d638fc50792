/**
 * What is used of @huggingface/jinja, with types: the library's own cannot be resolved from ES modules, and leave out
 * values and syntax trees. The one importer of it.
 */
import * as library from "@huggingface/jinja";
import { reasonOf } from "../errors.ts";

type Typed<Type, T> = Readonly<{ type: Type; value: T; __bool__(): Readonly<{ value: boolean }> }>;
export type StringValue = Typed<"StringValue", string>;
export type BooleanValue = Typed<"BooleanValue", boolean>;
export type IntegerValue = Typed<"IntegerValue", number>;
export type FloatValue = Typed<"FloatValue", number>;
export type ArrayValue = Typed<"ArrayValue", readonly Value[]>;
export type ObjectValue = Typed<"ObjectValue", ReadonlyMap<string, Value>>;
type OtherValue = Typed<"NullValue" | "UndefinedValue" | "NamespaceValue" | "FunctionValue", unknown>;
export type NumberValue = IntegerValue | FloatValue | BooleanValue;
export type Value = StringValue | NumberValue | ArrayValue | ObjectValue | OtherValue;

export type Name = Readonly<{ type: "Identifier"; value: string }>;
export type TupleLiteral = Readonly<{ type: "TupleLiteral"; value: readonly Node[] }>;
export type BinaryExpression = Readonly<{
  type: "BinaryExpression";
  operator: Token;
  left: Node;
  right: Node;
}>;
/** `object.property`, or `object[property]` when it is computed. */
export type MemberExpression = Readonly<{
  type: "MemberExpression";
  object: Node;
  property: Name;
  computed: boolean;
}>;
export type CallExpression = Readonly<{ type: "CallExpression"; callee: Node; args: readonly Node[] }>;
export type NamedArgument = Readonly<{ type: "KeywordArgumentExpression"; key: Name; value: Node }>;
/** A name, or a call of one. */
type Filter = Name | (CallExpression & Readonly<{ callee: Name }>);
export type FilterExpression = Readonly<{ type: "FilterExpression"; operand: Node; filter: Filter }>;
/** What a loop goes over with a condition. */
export type SelectExpression = Readonly<{ type: "SelectExpression"; lhs: Node; test: Node }>;
export type For = Readonly<{ type: "For"; iterable: Node }>;
/** What depends on whether something holds. */
type If = Readonly<{ type: "If"; test: Node }>;
type Ternary = Readonly<{ type: "Ternary"; condition: Node }>;
/** `not`, or a sign. */
type UnaryExpression = Readonly<{ type: "UnaryExpression"; argument: Node }>;
/** `operand is test`. */
export type TestExpression = Readonly<{
  type: "TestExpression";
  operand: Node;
  negate: boolean;
  test: Name;
}>;
/** Not the parser's: what has its value. */
export type Evaluated = Readonly<{ type: "Evaluated"; value: Value }>;
/** Not the parser's: what must have a value. */
export type Required = Readonly<{ type: "Required"; part: Node }>;
type OtherNode = Readonly<{ type: "Program" | "FilterStatement" }>;
/** A part of a syntax tree, of the types that are read here. */
export type Node =
  | Name
  | TupleLiteral
  | BinaryExpression
  | MemberExpression
  | CallExpression
  | NamedArgument
  | FilterExpression
  | SelectExpression
  | For
  | If
  | Ternary
  | UnaryExpression
  | TestExpression
  | Evaluated
  | Required
  | OtherNode;

/** Variables. */
export interface Environment {
  /** Declares a variable with what the library makes of a value of JSON or of a function. */
  set(name: string, value: unknown): Value;
  /** Gives a variable a value, declared or not. */
  setVariable(name: string, value: Value): void;
}
export const Environment: new () => Environment = library.Environment;

export interface Interpreter {
  run(program: Node): Value;
  evaluate(node: Node | undefined, scope: Environment): Value;
}
export const Interpreter: new (scope: Environment) => Interpreter = library.Interpreter;

export type Token = Readonly<{ type: string; value: string }>;
/** Whether line breaks after blocks and white space before them go. */
export type TokenizeOptions = Readonly<{ lstrip_blocks?: boolean; trim_blocks?: boolean }>;
export const tokenize: (template: string, options?: TokenizeOptions) => readonly Token[] = library.tokenize;

/** Tokens before a wrong one that a message shows, and characters of them all. */
const NEAR = 3;
const SHOWN = 60;

/**
 * The syntax tree.
 * @throws Error that says near what the parser gave up
 */
export function parse(tokens: readonly Token[]): Node {
  let last = 0;
  const read = new Proxy(tokens, {
    get(all, key) {
      if (typeof key === "string" && /^\d+$/.test(key)) last = Math.max(last, Number(key));
      return Reflect.get(all, key);
    },
  });
  try {
    return library.parse(read);
  } catch (cause) {
    // Beyond the last token, the library reads of undefined. It leaves a placeholder in one message.
    const reason = cause instanceof TypeError ? "Unexpected end" : reasonOf(cause);
    const shown = reason.replace(/^Parser Error: |, got \$\{.+?\} instead\.|\.$/g, "");
    const near = tokens.slice(Math.max(0, last - NEAR), last + 1).map(({ value }) => value.trim());
    throw new Error(`${shown}, near ${JSON.stringify(near.join(" ").slice(-SHOWN))}`, { cause });
  }
}
