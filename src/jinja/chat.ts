/** Chat templates, rendered as transformers does, but on a fixed date: a text must not depend on the day it is made. */
import { FILTERS, PLAIN_JSON } from "./filters.ts";
import { type Dialect, PythonInterpreter } from "./interpreter.ts";
import { Environment, parse } from "./library.ts";
import { str } from "./printing.ts";
import { CONSTANTS, printingTokens, range } from "./template.ts";

const CHAT: Dialect = { isStrict: false, filters: new Map([...FILTERS, ["tojson", PLAIN_JSON]]) };

/**
 * The date by the letters of `strftime`: Friday, 26 July 2024, which Llama 3.2's template and others have by default.
 */
const DATE: Readonly<Record<string, string>> = {
  Y: "2024",
  y: "24",
  m: "07",
  B: "July",
  b: "Jul",
  d: "26",
  j: "208",
  A: "Friday",
  a: "Fri",
  H: "00",
  I: "12",
  M: "00",
  S: "00",
  p: "AM",
  "%": "%",
};

/**
 * Compiles a chat template.
 * @returns a function from the values of a conversation to its text
 * @throws Error for a text that is no template
 */
export function compileChat(text: string): (values: unknown) => string {
  const program = parse(printingTokens(text, { lstrip_blocks: true, trim_blocks: true }));
  return (values) => {
    const scope = new Environment();
    const globals = { ...CONSTANTS, range, raise_exception: refuse, strftime_now: formatDate };
    for (const [name, value] of Object.entries({ ...Object(values), ...globals })) scope.set(name, value);
    return str(new PythonInterpreter(scope, CHAT).run(program));
  };
}

/** `raise_exception`, by which a template refuses a conversation. */
function refuse(message: unknown): never {
  throw new Error(String(message));
}

/** `strftime` of C; a hyphen leaves out leading zeros. */
function formatDate(format: unknown): string {
  return String(format).replace(/%(-?)([A-Za-z%])/g, (token, hyphen: string, letter: string) => {
    const part = DATE[letter] ?? token;
    return hyphen === "" ? part : part.replace(/^0+(?=\d)/, "");
  });
}
