/** The form of a new run, generated from the JSON Schema of a run's configuration. */
import { useEffect, useState } from "preact/hooks";
import type { Problem, Settings, UiState } from "../src/ui/api.ts";
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
  const [start] = useState(() => startOf(state, like));
  useEffect(() => void readSchema().then(setSchema), []);
  if (schema === null) return <p class="aside">Loading…</p>;
  const isBusy = state.live?.state === "running" || state.live?.state === "stopping";
  return (
    <>
      {start?.hasFailed && (
        <p class="aside">
          These are the settings of {start.id}, which failed. <a href={`#new?${EMPTY}`}>Start from none</a>
        </p>
      )}
      <Form
        schema={schema}
        start={entriesOf(schema, start?.settings ?? { calibration: [{}] })}
        name={start?.name ?? ""}
        workingDirectory={state.workingDirectory}
        isBusy={isBusy}
      />
    </>
  );
}

/** Address of a form that begins like no run. */
const EMPTY = new URLSearchParams({ like: "" });

/** What a form begins with. */
interface Start {
  /** Run whose settings they are. */
  readonly id: string;
  readonly settings: Settings | null;
  readonly name: string;
  readonly hasFailed: boolean;
}

/** The run that was named; when none was, the last one if it failed, since its settings may be nowhere else. */
function startOf({ runs, live }: UiState, like: string | null): Start | null {
  const names = new Set(runs.map(({ id }) => id));
  const listed = like === null ? undefined : runs.find(({ id }) => id === like);
  if (listed !== undefined) {
    const { id, settings } = listed;
    return { id, settings, name: nextName(id, names), hasFailed: false };
  }
  if (live?.state !== "failed" || (like !== null && like !== live.id)) return null;
  const { id, settings } = live;
  return { id, settings, name: names.has(id) ? nextName(id, names) : id, hasFailed: true };
}

interface FormProps {
  readonly schema: RunSchema;
  readonly start: Entries;
  readonly name: string;
  readonly workingDirectory: string;
  readonly isBusy: boolean;
}

function Form({ schema, start, name: firstName, workingDirectory, isBusy }: FormProps) {
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
      <p class="aside">
        Relative paths lead from <code>{workingDirectory}</code>, where gprune ui was started.
      </p>
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
