/** The form of a new run, generated from the JSON Schema of a run's configuration. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Problem, Settings, UiState } from "../src/ui/api.ts";
import { described, Field, FieldProblemNote } from "./field.tsx";
import { ProblemNote } from "./problem_note.tsx";
import { nextName } from "./run_name.ts";
import {
  type Entries,
  type Entry,
  entriesOf,
  type FieldProblems,
  GROUPS,
  otherFields,
  type RunSchema,
  settingsOf,
  withoutField,
} from "./schema.ts";
import { type Answer, post, schema as readSchema } from "./server.ts";

interface NewRunProps {
  readonly state: UiState;
  /** Id of the run whose settings it starts with; empty for none. */
  readonly like: string | null;
}

export function NewRun({ state, like }: NewRunProps) {
  const [answer, setAnswer] = useState<Answer<RunSchema> | null>(null);
  const [start] = useState(() => startOf(state, like));
  useEffect(() => void readSchema().then(setAnswer), []);
  if (answer === null) return <p class="aside">Loading…</p>;
  if (answer.problem !== null) return <ProblemNote problem={answer.problem} />;
  const schema = answer.value;
  const isBusy = state.live?.state === "running" || state.live?.state === "stopping";
  return (
    <>
      {start?.ended != null && (
        <p class="aside">
          These are the settings of {start.from}, which {start.ended}.{" "}
          <a href={`#new?${EMPTY}`}>Start with an empty form</a>
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

/** Query of a form without settings of another run. */
const EMPTY = new URLSearchParams({ like: "" });

/** Initial settings of a form, from another run. */
interface Start {
  /** Name of the run that the settings come from. */
  readonly from: string;
  readonly settings: Settings | null;
  readonly name: string;
  /** How the last run ended, if the settings are its own; null for a run of the list. */
  readonly ended: "failed" | "was stopped" | null;
}

/**
 * Settings of the run `like`. Without one, those of the last run if it failed, or was stopped before it kept anything,
 * since its settings may be nowhere else.
 */
function startOf({ runs, live }: UiState, like: string | null): Start | null {
  const names = new Set(runs.map(({ id }) => id));
  const listed = like === null ? undefined : runs.find(({ id }) => id === like);
  if (listed !== undefined) {
    const { id, name, settings } = listed;
    return { from: name, settings, name: nextName(id, names), ended: null };
  }
  const ended = live?.state === "failed" ? "failed" : live?.state === "stopped" ? "was stopped" : null;
  if (live === null || ended === null || (like !== null && like !== live.id)) return null;
  // The list has the settings of a stopped run that kept something.
  if (ended === "was stopped" && names.has(live.id)) return null;
  const { id, name, settings } = live;
  return { from: name, settings, name: names.has(id) ? nextName(id, names) : id, ended };
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
  const [refusals, setRefusals] = useState(0);
  const form = useRef<HTMLFormElement>(null);
  const problems = new Map(problem?.fields?.map(({ path, message }) => [path, message]));
  useLayoutEffect(() => showFirstProblem(form.current!), [refusals]);
  const set = (field: string, entry: Entry): void => {
    setEntries((now) => ({ ...now, [field]: entry }));
    setProblem((now) => withoutField(now, field));
  };
  const rename = (to: string): void => {
    setName(to);
    setProblem((now) => withoutField(now, "name"));
  };
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const refused = await post("/api/runs", { name: name.trim(), settings: settingsOf(schema, entries) });
    setProblem(refused);
    if (refused === null) location.hash = "#runs";
    else setRefusals((count) => count + 1);
  };
  const shared = { schema, entries, problems, onChange: set };
  return (
    <form ref={form} onSubmit={submit} onInvalidCapture={openGroup} class="form">
      <p class="aside">
        Relative paths start at <code>{workingDirectory}</code>, the directory where gprune ui was started.
      </p>
      {GROUPS.map(({ title, fields }, index) => (
        <fieldset key={title}>
          <legend>{title}</legend>
          {index === 0 && <NameField name={name} problem={problems.get("name")} onChange={rename} />}
          <Fields names={fields} {...shared} />
        </fieldset>
      ))}
      <details class="more">
        <summary>More settings</summary>
        <fieldset>
          <legend class="unseen">More settings</legend>
          <Fields names={otherFields(schema)} {...shared} />
        </fieldset>
      </details>
      {problem !== null && <ProblemNote problem={problem} />}
      <SubmitRow isBusy={isBusy} />
    </form>
  );
}

interface FieldsProps {
  readonly names: readonly string[];
  readonly schema: RunSchema;
  readonly entries: Entries;
  readonly problems: FieldProblems;
  readonly onChange: (field: string, entry: Entry) => void;
}

function Fields({ names, schema, entries, problems, onChange }: FieldsProps) {
  return (
    <>
      {names.map((name) => (
        <Field
          key={name}
          name={name}
          property={schema.properties[name]!}
          isRequired={schema.required?.includes(name) ?? false}
          entry={entries[name] ?? ""}
          problems={problems}
          onChange={(entry) => onChange(name, entry)}
        />
      ))}
    </>
  );
}

function SubmitRow({ isBusy }: { isBusy: boolean }) {
  return (
    <div class="submit">
      <button type="submit" class="action primary" disabled={isBusy}>
        Start pruning
      </button>
      {isBusy && <p class="note">A run is in progress. Only one can run at a time.</p>}
    </div>
  );
}

/** Opens the group of an invalid field, so that the browser can focus it. */
function openGroup({ target }: Event): void {
  if (target instanceof Element) target.closest("details")?.setAttribute("open", "");
}

/** Moves the focus to the first field that is marked as wrong. */
function showFirstProblem(form: HTMLFormElement): void {
  const first = form.querySelector<HTMLElement>("[aria-invalid], .wrong[tabindex]");
  first?.closest("details")?.setAttribute("open", "");
  first?.focus();
}

interface NameFieldProps {
  readonly name: string;
  readonly problem: string | undefined;
  readonly onChange: (name: string) => void;
}

function NameField({ name, problem, onChange }: NameFieldProps) {
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
        {...described("run-name", problem !== undefined)}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
      <p class="note" id="run-name-note">
        output directory to create here: letters, digits, dots, dashes, underscores
      </p>
      <FieldProblemNote id="run-name" problem={problem} />
    </div>
  );
}
