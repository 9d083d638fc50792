/**
 * The part of @huggingface/jinja that is used, with types of our own: the library's cannot be resolved from ES modules,
 * and leave out values and syntax trees. Its only importer.
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
/** `object.property`, or `object[property]`, where the property may be a slice. */
export type MemberExpression = Readonly<{ type: "MemberExpression"; object: Node }> &
  (Readonly<{ computed: false; property: Name }> | Readonly<{ computed: true; property: Node }>);
export type CallExpression = Readonly<{ type: "CallExpression"; callee: Node; args: readonly Node[] }>;
export type NamedArgument = Readonly<{ type: "KeywordArgumentExpression"; key: Name; value: Node }>;
/** A name, or a call of one. */
type Filter = Name | (CallExpression & Readonly<{ callee: Name }>);
export type FilterExpression = Readonly<{ type: "FilterExpression"; operand: Node; filter: Filter }>;
/** `lhs if test`: an expression without an else, or the iterable of a loop with a condition. */
export type SelectExpression = Readonly<{ type: "SelectExpression"; lhs: Node; test: Node }>;
export type For = Readonly<{ type: "For"; iterable: Node; body: readonly Node[] }>;
/** The statement, and the expression with an else. */
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
/** Not the parser's: a part that has been evaluated. */
export type Evaluated = Readonly<{ type: "Evaluated"; value: Value }>;
/** Not the parser's: a part whose value must not be undefined. */
export type Required = Readonly<{ type: "Required"; part: Node }>;
/** Not the parser's: the beginning of a loop's body. */
export type LoopStart = Readonly<{ type: "LoopStart" }>;
type OtherNode = Readonly<{ type: "Program" | "FilterStatement" | "SliceExpression" }>;
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
  | LoopStart
  | OtherNode;

/** Variables of a scope. */
export interface Environment {
  /** Declares a variable, and makes its value from a JSON value or a function. */
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
/** Whether white space before blocks (`lstrip_blocks`) and line breaks after them (`trim_blocks`) are removed. */
export type TokenizeOptions = Readonly<{ lstrip_blocks?: boolean; trim_blocks?: boolean }>;
export const tokenize: (template: string, options?: TokenizeOptions) => readonly Token[] = library.tokenize;

/** Tokens before a wrong one that a message shows, and most characters of all that it shows. */
const NEAR = 3;
const SHOWN = 60;

/**
 * The syntax tree of a template.
 * @throws Error that quotes the tokens at which the parser gave up
 */
export function parse(tokens: readonly Token[]): Node {
  let lastRead = 0;
  const watched = new Proxy(tokens, {
    get(target, key) {
      if (typeof key === "string" && /^\d+$/.test(key)) lastRead = Math.max(lastRead, Number(key));
      return Reflect.get(target, key);
    },
  });
  try {
    return library.parse(watched);
  } catch (cause) {
    // Beyond the last token, the library reads properties of undefined. It leaves a placeholder in one message.
    const message = cause instanceof TypeError ? "Unexpected end" : reasonOf(cause);
    const reason = message.replace(/^Parser Error: |, got \$\{.+?\} instead\.|\.$/g, "");
    const near = tokens.slice(Math.max(0, lastRead - NEAR), lastRead + 1).map(({ value }) => value.trim());
    throw new Error(`${reason}, near ${JSON.stringify(near.join(" ").slice(-SHOWN))}`, { cause });
  }
}
