/** The parts of a run's JSON Schema that the form uses, and conversion between the form's texts and settings. */
import type { Problem, Settings } from "../src/ui/api.ts";

/** JSON Schema of one setting. */
export interface Property {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly exclusiveMaximum?: number;
  readonly items?: ObjectSchema;
}

/** JSON Schema of an object. */
export interface ObjectSchema {
  readonly properties: Readonly<Record<string, Property>>;
  readonly required?: readonly string[];
}

/** JSON Schema of a run configuration. */
export type RunSchema = ObjectSchema;

/** Text of a field; a list has a record of fields for each item. */
export type Entry = string | readonly Entries[];
export type Entries = Readonly<Record<string, Entry>>;

/** Groups of the fields that are always shown; all others of the schema are below "More settings". */
export const GROUPS: readonly { readonly title: string; readonly fields: readonly string[] }[] = [
  { title: "What to prune", fields: ["model", "sparsity"] },
  { title: "Calibration", fields: ["calibration", "ownText", "samples", "seqLen"] },
  { title: "Method", fields: ["method", "metric", "recover", "shape"] },
];

/** Settings without a field. */
const HIDDEN: ReadonlySet<string> = new Set(["output"]);

/** Names of the fields that no group has. */
export function otherFields({ properties }: RunSchema): readonly string[] {
  const grouped = new Set(GROUPS.flatMap(({ fields }) => fields));
  return Object.keys(properties).filter((name) => !grouped.has(name) && !HIDDEN.has(name));
}

/** Labels of fields whose keys would not explain them. */
const LABELS: Readonly<Record<string, string>> = {
  calibration: "Set",
  samples: "Windows per set",
  refitSamples: "Windows per set for least squares",
  seqLen: "Tokens per window",
  recover: "Recovery",
  maxModules: "Maximum modules",
  roundTo: "Round widths to",
  refine: "Refine learned widths",
  steps: "Training steps",
  dtype: "Output dtype",
};

/** `gradientWindows` as `Gradient windows`. */
export function labelOf(name: string): string {
  const label = LABELS[name];
  if (label !== undefined) return label;
  const words = name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return words[0]!.toUpperCase() + words.slice(1);
}

/** `calibration.0.path` as `Set 1, path`. */
export function pathLabel(path: string): string {
  const [name = "", index, field] = path.split(".");
  if (index === undefined) return labelOf(name);
  const item = `${labelOf(name)} ${Number(index) + 1}`;
  return field === undefined ? item : `${item}, ${labelOf(field).toLowerCase()}`;
}

/** Messages about fields, by path. */
export type FieldProblems = ReadonlyMap<string, string>;

/** A problem without the messages about a field, which is being changed. */
export function withoutField(problem: Problem | null, field: string): Problem | null {
  const { fields = [] } = problem ?? {};
  const others = fields.filter(({ path }) => path !== field && !path.startsWith(`${field}.`));
  if (problem === null || others.length === fields.length) return problem;
  return others.length === 0 ? null : { ...problem, fields: others };
}

/** Entries of a form that shows settings; absent ones stay empty. */
export function entriesOf({ properties }: ObjectSchema, settings: Settings): Entries {
  return Object.fromEntries(
    Object.entries(properties).map(([name, { items }]) => {
      const value = settings[name];
      if (items === undefined) return [name, value === undefined ? "" : String(value)];
      const list = Array.isArray(value) ? (value as readonly Settings[]) : [];
      return [name, list.map((item) => entriesOf(items, item))];
    }),
  );
}

/** Settings of a form's entries; empty fields are left out, so that defaults apply. */
export function settingsOf({ properties }: ObjectSchema, entries: Entries): Settings {
  return Object.fromEntries(
    Object.entries(properties).flatMap(([name, property]) => {
      const entry = entries[name] ?? "";
      if (typeof entry !== "string") {
        const items = entry.map((item) => settingsOf(property.items!, item));
        return items.length === 0 ? [] : [[name, items] as const];
      }
      return entry.trim() === "" ? [] : [[name, parsed(property, entry)] as const];
    }),
  );
}

function parsed({ type }: Property, text: string): unknown {
  if (type === "number" || type === "integer") return Number(text);
  return type === "boolean" ? text === "true" : text.trim();
}
