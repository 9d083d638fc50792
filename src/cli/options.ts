/** Options that validate their values while the command line is parsed, before anything is opened. */
import { type Command, Option } from "commander";
import { lacksUnit, parseSize } from "../base/byte_size.ts";
import { meantHint } from "../base/similar.ts";
import { GpruneError } from "../errors.ts";
import { expandHome } from "../io/files/home.ts";
import { SERVER_ADDRESSES, serverKind, withoutSecrets } from "../workers/server_address.ts";

/** Range and default of a number; `below` is exclusive, `min` and `max` are inclusive. */
interface NumberRange {
  readonly min: number;
  readonly below?: number;
  readonly max?: number;
  readonly whole?: boolean;
  readonly default?: number;
  /** Hint of the error for a number that is refused. */
  readonly hint?: string;
}

/** An option with a whole number of at least `min`, and of at most `max` where there is one. */
export function countOption(
  flags: string,
  description: string,
  range: { readonly min: number; readonly max?: number; readonly default?: number },
): Option {
  return numberOption(flags, description, { ...range, whole: true });
}

/**
 * An option with a number in `min <= x < below`, or `min <= x <= max`. @throws GpruneError BAD_ARGUMENT while parsing
 */
export function numberOption(flags: string, description: string, range: NumberRange): Option {
  const option = new Option(flags, description);
  if (range.default !== undefined) option.default(range.default);
  const {
    min,
    below = Number.POSITIVE_INFINITY,
    max = Number.POSITIVE_INFINITY,
    whole = false,
    hint,
  } = range;
  return option.argParser((text: string) => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    const fits = value >= min && value < below && value <= max && Number.isFinite(value);
    if (fits && (!whole || Number.isSafeInteger(value))) return value;
    const kind = whole ? "a whole number" : "a number";
    const limit = Number.isFinite(below) ? ` and below ${below}` : "";
    const most = Number.isFinite(max) ? ` and at most ${max}` : "";
    throw badValue(option, { expected: `${kind} of at least ${min}${limit}${most}`, got: text, hint });
  });
}

/** An option with a number of bytes, such as `4GB`. @throws GpruneError BAD_ARGUMENT while parsing */
export function sizeOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.argParser((text: string) => {
    const bytes = parseSize(text);
    if (bytes !== null && !lacksUnit(text)) return bytes;
    const hint =
      bytes === null
        ? undefined
        : `A number without a unit would mean bytes; write ${text.trim()}GB or ${text.trim()}MB.`;
    throw badValue(option, { expected: "a size such as 4GB or 512MiB", got: text, hint });
  });
}

/** An option with a directory, not with the option after it. @throws GpruneError BAD_ARGUMENT while parsing */
export function directoryOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.argParser((text: string) => {
    if (text !== "" && !text.startsWith("-")) return expandHome(text);
    const hint = `${option.long} needs a directory; for a directory named ${text}, write ./${text}.`;
    throw badValue(option, { expected: "a directory", got: text, hint });
  });
}

/** An option with one of a few words, ignoring case. @throws GpruneError BAD_ARGUMENT while parsing */
export function choiceOption(flags: string, description: string, choices: readonly string[]): Option {
  const option = new Option(flags, description).choices(choices);
  return option.argParser((text: string) => {
    const word = text.toLowerCase();
    if (choices.includes(word)) return word;
    const hint = meantHint(word, choices);
    throw badValue(option, { expected: `one of ${choices.join(", ")}`, got: text, hint });
  });
}

/** An option with the address of a queue server. @throws GpruneError BAD_ARGUMENT without passwords, while parsing */
export function serverOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.argParser((text: string) => {
    if (serverKind(text) !== null) return text;
    throw badValue(option, { expected: SERVER_ADDRESSES, got: withoutSecrets(text) });
  });
}

/** A repeatable option with any number of `NAME=PATH`. @throws GpruneError BAD_ARGUMENT while parsing */
export function textSetsOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.argParser((text: string, previous: readonly string[] | undefined) => {
    const end = text.indexOf("=") + 1;
    // Shells do not expand a ~ after a =.
    if (end > 0) return [...(previous ?? []), text.slice(0, end) + expandHome(text.slice(end))];
    const isFile = /[./]/.test(text);
    const named = isFile ? `${nameFrom(text)}=${text}` : `${text}=PATH`;
    const hint = `Give a name and a path, as in ${named}. ${option.long} takes all values that follow it, so put the model before it.`;
    throw badValue(option, { expected: "NAME=PATH", got: text, hint });
  });
}

/** A name for the texts at a path: that of the file without what follows its first dot, or of the directory. */
function nameFrom(path: string): string {
  return /([^/\s.:#]+)[^/]*\/*$/.exec(path)?.[1] ?? "name";
}

interface Mismatch {
  readonly expected: string;
  readonly got: string;
  readonly hint?: string | undefined;
}

function badValue({ long }: Option, { expected, got, hint }: Mismatch): GpruneError {
  const message = `${long}: expected ${expected}, got ${JSON.stringify(got)}`;
  return new GpruneError("BAD_ARGUMENT", message, { hint });
}

/** Options whose value may be empty. */
const MAY_BE_EMPTY: ReadonlySet<string> = new Set(["prompt"]);

/**
 * Refuses empty words, which a shell makes of unset variables: an empty path would mean the current directory.
 * @throws GpruneError BAD_ARGUMENT naming the argument or the option
 */
export function requireWords(command: Command): void {
  const { options, args, registeredArguments } = command;
  const last = registeredArguments.at(-1);
  const place = args.indexOf("");
  if (place >= 0) throw emptyWord((registeredArguments[place] ?? last)?.name().toUpperCase() ?? "argument");
  const given = command.opts();
  const empty = options.find((option) => {
    return given[option.attributeName()] === "" && !MAY_BE_EMPTY.has(option.attributeName());
  });
  if (empty !== undefined) throw emptyWord(empty.long ?? empty.flags);
}

/**
 * Refuses words beyond a command's arguments, such as the value of an option that is not named.
 * @throws GpruneError BAD_ARGUMENT with how the command is used
 */
export function requireNoMoreWords(command: Command): void {
  const { args, registeredArguments } = command;
  const last = registeredArguments.at(-1);
  const extra = last?.variadic ? undefined : args[registeredArguments.length];
  if (extra === undefined) return;
  const place = last === undefined ? "arguments" : `arguments after ${last.name().toUpperCase()}`;
  const [usage] = command.usage().split("\n");
  throw new GpruneError(
    "BAD_ARGUMENT",
    `${command.name()}: expected no ${place}, got ${JSON.stringify(extra)}`,
    { hint: `gprune ${command.name()} ${usage}` },
  );
}

function emptyWord(what: string): GpruneError {
  return new GpruneError("BAD_ARGUMENT", `${what}: expected a value, got ""`, {
    hint: "A shell variable may be unset.",
  });
}

/** Option of a setting: `--max-modules` for maxModules. */
export function optionOf(setting: string): string {
  return `--${setting.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** Error for an option without effect. @param needed - option that it needs. @param got - what there is instead */
export function idleOption(
  setting: string,
  { needed, got }: { readonly needed: string; readonly got: string },
): GpruneError {
  const option = optionOf(setting);
  return new GpruneError("BAD_ARGUMENT", `${option}: expected ${needed}, got ${got}`, {
    hint: `Without ${needed} it has no effect. Add that or leave ${option} out.`,
  });
}
