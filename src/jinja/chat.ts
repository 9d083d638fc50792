/** Chat templates, rendered as transformers does it, but for the day: what is made of a text must not depend on it. */
import { FILTERS, PLAIN_JSON } from "./filters.ts";
import { type Dialect, PythonInterpreter } from "./interpreter.ts";
import { Environment, parse } from "./library.ts";
import { str } from "./printing.ts";
import { CONSTANTS, printing, range } from "./template.ts";

const CHAT: Dialect = { isStrict: false, filters: new Map([...FILTERS, ["tojson", PLAIN_JSON]]) };

/**
 * The day that templates which ask for none have, Llama 3.2's among them: Friday, 26 July 2024, by the letters of
 * `strftime`.
 */
const DAY: Readonly<Record<string, string>> = {
  ...{ Y: "2024", y: "24", m: "07", B: "July", b: "Jul", d: "26", j: "208", A: "Friday", a: "Fri" },
  ...{ H: "00", I: "12", M: "00", S: "00", p: "AM", "%": "%" },
};

/**
 * @returns what renders the values of a conversation
 * @throws Error for what is no template
 */
export function compileChat(text: string): (values: unknown) => string {
  const program = parse(printing(text, { lstrip_blocks: true, trim_blocks: true }));
  return (values) => {
    const scope = new Environment();
    const globals = { ...CONSTANTS, range, raise_exception: refuse, strftime_now: day };
    for (const [name, value] of Object.entries({ ...Object(values), ...globals })) scope.set(name, value);
    return str(new PythonInterpreter(scope, CHAT).run(program));
  };
}

/** How a template says that it does not take a conversation. */
function refuse(message: unknown): never {
  throw new Error(String(message));
}

function day(format: unknown): string {
  return String(format).replace(/%-?([A-Za-z%])/g, (token, letter: string) => DAY[letter] ?? token);
}
