/**
 * Programs in a small made-up language.
 *
 * Names are used consistently: a variable is declared before it is used, a
 * call has the arity of the function it names, and a comment says what the
 * function below it does. There is no interpreter for the language.
 */
import { FIELDS, LIMITS, MARKS, MESSAGES, MODULES, NOUNS, NUMBERS } from "./code-words.ts";
import { at, createRng, type Rng } from "./prng.ts";

interface Defined {
  readonly name: string;
  readonly arity: number;
}

interface Scope {
  readonly rng: Rng;
  readonly numbers: string[];
  readonly defined: readonly Defined[];
}

type Lines = string[];

function indent(lines: Lines): Lines {
  return lines.map((line) => `  ${line}`);
}

function atom({ rng, numbers }: Scope): string {
  return numbers.length > 0 && rng.chance(0.7)
    ? rng.pick(numbers)
    : String(rng.skewed([1, 2, 0, 10, 3, 4, 8, 100, 5, 16, 7, 60, 255, 1000]));
}

function expression(scope: Scope, depth: number): string {
  const { rng, defined } = scope;
  if (depth === 0 || rng.chance(0.3)) {
    return atom(scope);
  }
  if (defined.length > 0 && rng.chance(0.25)) {
    const callee = rng.pick(defined);
    const given = Array.from({ length: callee.arity }, () => atom(scope));
    return `${callee.name}(${given.join(", ")})`;
  }
  if (rng.chance(0.15)) {
    return `${rng.pick(["min", "max"])}(${expression(scope, depth - 1)}, ${atom(scope)})`;
  }
  const operator = rng.skewed(["+", "*", "-", "/", "%"]);
  const right = expression(scope, depth - 1);
  return `${atom(scope)} ${operator} ${/[ ]/u.test(right) ? `(${right})` : right}`;
}

function condition(scope: Scope): string {
  const { rng } = scope;
  const test = `${atom(scope)} ${rng.pick(["<", ">", "==", "!=", "<=", ">="])} ${atom(scope)}`;
  return rng.chance(0.2) ? `${test} ${rng.pick(["and", "or"])} ${atom(scope)} > 0` : test;
}

function declare(scope: Scope): string {
  const { rng, numbers } = scope;
  const free = NUMBERS.filter((name) => !numbers.includes(name));
  const name = rng.skewed(free);
  const line = `let ${name} = ${expression(scope, 2)}`;
  numbers.push(name);
  return line;
}

function assign(scope: Scope): string {
  const { rng, numbers } = scope;
  const name = rng.pick(numbers);
  return rng.chance(0.6)
    ? `${name} ${rng.pick(["+=", "-=", "*="])} ${expression(scope, 1)}`
    : `${name} = ${expression(scope, 2)}`;
}

function block(scope: Scope, depth: number): Lines {
  const inner: Scope = { ...scope, numbers: [...scope.numbers] };
  const lines: Lines = [];
  for (let left = scope.rng.int(1, 3); left > 0; left -= 1) {
    lines.push(...statement(inner, depth));
  }
  return indent(lines);
}

function statement(scope: Scope, depth: number): Lines {
  const { rng, numbers } = scope;
  if (numbers.length === 0 || rng.chance(0.25)) {
    return [declare(scope)];
  }
  if (depth > 0 && rng.chance(0.25)) {
    const lines = [`if ${condition(scope)} {`, ...block(scope, depth - 1)];
    return rng.chance(0.4) ? [...lines, "} else {", ...block(scope, depth - 1), "}"] : [...lines, "}"];
  }
  if (depth > 0 && rng.chance(0.15)) {
    return [`while ${condition(scope)} {`, ...block(scope, depth - 1), "}"];
  }
  if (rng.chance(0.15)) {
    return [`print("${rng.pick(MESSAGES)}", ${rng.pick(numbers)})`];
  }
  return [assign(scope)];
}

function general(rng: Rng, defined: readonly Defined[]): [Defined, Lines] {
  const field = rng.pick(FIELDS);
  const noun = rng.skewed(NOUNS);
  const verb = rng.pick(["compute", "adjust", "estimate", "update", "measure", "convert"]);
  const name = `${verb}_${noun}_${field}`;
  const inputs = rng.sample(FIELDS, rng.int(1, 3));
  const scope: Scope = { rng, numbers: [...inputs], defined };
  const body: Lines = [declare(scope)];
  for (let left = rng.int(2, 5); left > 0; left -= 1) {
    body.push(...statement(scope, 2));
  }
  body.push(`return ${expression(scope, 1)}`);
  const comment = `# ${verb} the ${field} of one ${noun} from its ${inputs.join(" and ")}`;
  return [
    { name, arity: inputs.length },
    [comment, `fn ${name}(${inputs.join(", ")}) {`, ...indent(body), "}"],
  ];
}

function summing(rng: Rng): [Defined, Lines] {
  const noun = rng.skewed(NOUNS);
  const field = rng.pick(FIELDS);
  const sum = rng.pick(["total", "sum", "result"]);
  const name = `sum_${noun}_${field}`;
  return [
    { name, arity: 1 },
    [
      `# add up the ${field} of every ${noun}`,
      `fn ${name}(${noun}s) {`,
      `  let ${sum} = 0`,
      `  for ${noun} in ${noun}s {`,
      `    ${sum} += ${noun}.${field}`,
      "  }",
      `  return ${sum}`,
      "}",
    ],
  ];
}

function counting(rng: Rng): [Defined, Lines] {
  const noun = rng.skewed(NOUNS);
  const field = rng.pick(FIELDS);
  const limit = rng.pick(LIMITS);
  const above = rng.chance(0.5);
  const name = `count_${noun}s_${above ? "above" : "below"}`;
  return [
    { name, arity: 2 },
    [
      `# count the ${noun}s whose ${field} is ${above ? "above" : "below"} the ${limit}`,
      `fn ${name}(${noun}s, ${limit}) {`,
      "  let count = 0",
      `  for ${noun} in ${noun}s {`,
      `    if ${noun}.${field} ${above ? ">" : "<"} ${limit} {`,
      "      count += 1",
      "    }",
      "  }",
      "  return count",
      "}",
    ],
  ];
}

function selecting(rng: Rng): [Defined, Lines] {
  const noun = rng.skewed(NOUNS);
  const mark = rng.pick(MARKS);
  const keep = rng.chance(0.5);
  const name = `${keep ? "keep" : "drop"}_${mark}_${noun}s`;
  return [
    { name, arity: 1 },
    [
      `# ${keep ? "keep only" : "leave out"} the ${mark} ${noun}s`,
      `fn ${name}(${noun}s) {`,
      "  let kept = []",
      `  for ${noun} in ${noun}s {`,
      `    if ${keep ? "" : "not "}is_${mark}(${noun}) {`,
      `      push(kept, ${noun})`,
      "    }",
      "  }",
      "  return kept",
      "}",
    ],
  ];
}

function searching(rng: Rng): [Defined, Lines] {
  const noun = rng.skewed(NOUNS);
  const field = rng.pick(FIELDS);
  const largest = rng.chance(0.5);
  const name = `${largest ? "largest" : "smallest"}_${noun}`;
  return [
    { name, arity: 1 },
    [
      `# find the ${noun} with the ${largest ? "largest" : "smallest"} ${field}`,
      `fn ${name}(${noun}s) {`,
      `  let found = ${noun}s[0]`,
      `  for ${noun} in ${noun}s {`,
      `    if ${noun}.${field} ${largest ? ">" : "<"} found.${field} {`,
      `      found = ${noun}`,
      "    }",
      "  }",
      "  return found",
      "}",
    ],
  ];
}

function main(rng: Rng, defined: readonly Defined[]): Lines {
  const scope: Scope = { rng, numbers: [], defined: [] };
  const body: Lines = [declare(scope)];
  for (const callee of defined) {
    const given = Array.from({ length: callee.arity }, () => atom(scope));
    const name = `${at(callee.name.split("_"), 0)}_result`;
    body.push(`let ${name} = ${callee.name}(${given.join(", ")})`);
    body.push(`print("${rng.pick(MESSAGES)}", ${name})`);
  }
  return ["fn main() {", ...indent(body), "}"];
}

/** Write one program. */
export function program(seed: number): string {
  const rng = createRng(seed);
  const lines: Lines = rng.sample(MODULES, rng.int(0, 3)).map((name) => `use ${name}`);
  const defined: Defined[] = [];
  for (let left = rng.int(1, 4); left > 0; left -= 1) {
    const shape = rng.pick([general, general, summing, counting, selecting, searching]);
    const [head, body] = shape(rng, defined);
    if (!defined.some(({ name }) => name === head.name)) {
      lines.push(...(lines.length > 0 ? [""] : []), ...body);
      defined.push(head);
    }
  }
  if (rng.chance(0.6)) {
    lines.push("", ...main(rng, defined));
  }
  return lines.join("\n");
}
