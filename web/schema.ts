/** The JSON Schema of a run, as far as a form looks at it, and between a form's texts and a run's settings. */
import type { Problem, Settings } from "../src/ui/api.ts";

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

export interface ObjectSchema {
  readonly properties: Readonly<Record<string, Property>>;
  readonly required?: readonly string[];
}

export type RunSchema = ObjectSchema;

/** What is typed into a field; a list has one record of fields for each of its items. */
export type Entry = string | readonly Entries[];
export type Entries = Readonly<Record<string, Entry>>;

/** Fields that everybody meets, in groups; every other one of the schema is among "More settings". */
export const GROUPS: readonly { readonly title: string; readonly fields: readonly string[] }[] = [
  { title: "What to prune", fields: ["model", "sparsity"] },
  { title: "Calibration", fields: ["calibration", "ownText", "samples", "seqLen"] },
  { title: "Method", fields: ["method", "metric", "recover", "shape"] },
];

/** Set by the form itself. */
const HIDDEN: ReadonlySet<string> = new Set(["output"]);

/** Names of the fields that no group has. */
export function otherFields({ properties }: RunSchema): readonly string[] {
  const grouped = new Set(GROUPS.flatMap(({ fields }) => fields));
  return Object.keys(properties).filter((name) => !grouped.has(name) && !HIDDEN.has(name));
}

/** Names of fields that say more than their keys. */
const LABELS: Readonly<Record<string, string>> = {
  calibration: "Set",
  samples: "Windows of each set",
  refitSamples: "Windows of each set for least squares",
  seqLen: "Tokens in a window",
  recover: "Recovery",
  maxModules: "Most modules",
  roundTo: "Round widths to",
  refine: "Refine learned widths",
  steps: "Training steps",
  dtype: "Stored as",
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

/** What is wrong with each field, by its path. */
export type FieldProblems = ReadonlyMap<string, string>;

/** Without what was wrong with a field, which somebody changes. */
export function withoutField(problem: Problem | null, field: string): Problem | null {
  const { fields = [] } = problem ?? {};
  const others = fields.filter(({ path }) => path !== field && !path.startsWith(`${field}.`));
  if (problem === null || others.length === fields.length) return problem;
  return others.length === 0 ? null : { ...problem, fields: others };
}

/** A form's entries for settings; what is not said stays empty. */
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

/** Settings of what was typed in; empty fields are left out, so that defaults apply. */
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
