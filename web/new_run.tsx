/** The form of a new run, generated from the JSON Schema of a run's configuration. */
import { useEffect, useState } from "preact/hooks";
import type { Problem, UiState } from "../src/ui/api.ts";
import { Field } from "./field.tsx";
import { ProblemNote } from "./problem_note.tsx";
import {
  type Entries,
  type Entry,
  entriesOf,
  GROUPS,
  otherFields,
  type RunSchema,
  settingsOf,
} from "./schema.ts";
import { post, schema as readSchema } from "./server.ts";

interface NewRunProps {
  readonly state: UiState;
  /** Run whose settings it begins with. */
  readonly like: string | null;
}

export function NewRun({ state, like }: NewRunProps) {
  const [schema, setSchema] = useState<RunSchema | null>(null);
  const [model] = useState(() => state.runs.find(({ id }) => id === like) ?? null);
  useEffect(() => void readSchema().then(setSchema), []);
  if (schema === null) return <p class="aside">Loading…</p>;
  const names = new Set(state.runs.map(({ id }) => id));
  const start = entriesOf(schema, model?.settings ?? { calibration: [{}] });
  const isBusy = state.live?.state === "running" || state.live?.state === "stopping";
  return (
    <Form
      schema={schema}
      start={start}
      name={model === null ? "" : nextName(model.id, names)}
      isBusy={isBusy}
    />
  );
}

interface FormProps {
  readonly schema: RunSchema;
  readonly start: Entries;
  readonly name: string;
  readonly isBusy: boolean;
}

function Form({ schema, start, name: firstName, isBusy }: FormProps) {
  const [entries, setEntries] = useState(start);
  const [name, setName] = useState(firstName);
  const [problem, setProblem] = useState<Problem | null>(null);
  const set = (field: string, entry: Entry): void => setEntries((now) => ({ ...now, [field]: entry }));
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const refused = await post("/api/runs", { name: name.trim(), settings: settingsOf(schema, entries) });
    setProblem(refused);
    if (refused === null) location.hash = "#runs";
  };
  const fieldsOf = (fields: readonly string[]) =>
    fields.map((field) => (
      <Field
        key={field}
        name={field}
        property={schema.properties[field]!}
        isRequired={schema.required?.includes(field) ?? false}
        entry={entries[field] ?? ""}
        onChange={(entry) => set(field, entry)}
      />
    ));
  return (
    <form onSubmit={submit} class="form">
      {GROUPS.map(({ title, fields }, index) => (
        <fieldset key={title}>
          <legend>{title}</legend>
          {index === 0 && <NameField name={name} onChange={setName} />}
          {fieldsOf(fields)}
        </fieldset>
      ))}
      <details class="more">
        <summary>More settings</summary>
        <fieldset>
          <legend class="unseen">More settings</legend>
          {fieldsOf(otherFields(schema))}
        </fieldset>
      </details>
      {problem !== null && <ProblemNote problem={problem} />}
      <div class="submit">
        <button type="submit" class="action primary" disabled={isBusy}>
          Start pruning
        </button>
        {isBusy && <p class="note">A run is under way; one at a time.</p>}
      </div>
    </form>
  );
}

function NameField({ name, onChange }: { name: string; onChange: (name: string) => void }) {
  return (
    <div class="field">
      <label for="run-name">Name</label>
      <input
        id="run-name"
        value={name}
        required
        maxLength={100}
        pattern="[A-Za-z0-9][A-Za-z0-9._\-]*"
        autocomplete="off"
        spellcheck={false}
        aria-describedby="run-name-note"
        onInput={(event) => onChange(event.currentTarget.value)}
      />
      <p class="note" id="run-name-note">
        directory to be made here: letters, digits, dots, dashes
      </p>
    </div>
  );
}

/** `small` as `small-2`, or the next that is free. */
function nextName(id: string, taken: ReadonlySet<string>): string {
  const base = id.split("/").at(-1)!.replace(/-\d+$/, "");
  let number = 2;
  while (taken.has(`${base}-${number}`)) number += 1;
  return `${base}-${number}`;
}
