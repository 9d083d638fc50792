/** List of all runs, with a filter, actions and comparison. */
import { useState } from "preact/hooks";
import { perplexity as amount, bytes, duration, percent, short, times } from "../src/report/format.ts";
import { MAX_COMPARED, type Problem, type RunFigures, type RunSummary } from "../src/ui/api.ts";
import { lastPart, moment } from "./format.ts";
import { ProblemNote } from "./problem_note.tsx";
import { ReportLink } from "./report_link.tsx";
import { post } from "./server.ts";

/** Number of runs up to which there is no filter. */
const FEW = 5;

interface RunListProps {
  readonly runs: readonly RunSummary[];
  /** Number of all runs, which may be more than `runs`. */
  readonly total: number;
  /** Whether a run is in progress, so that none can be resumed. */
  readonly isBusy: boolean;
  /** Called with the id of a run that was resumed. */
  readonly onResume: (id: string) => void;
}

export function RunList({ runs, total, isBusy, onResume }: RunListProps) {
  const [selected, setSelected] = useState<readonly string[]>([]);
  const [wanted, setWanted] = useState("");
  const shown = runs.filter((run) => isWanted(run, wanted));
  const chosen = selected.filter((id) => runs.some((run) => run.id === id && run.state === "finished"));
  const toggle = (id: string): void =>
    setSelected(chosen.includes(id) ? chosen.filter((other) => other !== id) : [...chosen, id]);
  if (runs.length === 0) return <Empty />;
  return (
    <section aria-labelledby="list-title">
      <h2 id="list-title" class={isBusy ? "" : "unseen"}>
        All runs
      </h2>
      {runs.length > FEW && (
        <Filter text={wanted} onChange={setWanted} count={shown.length} of={amountOf(runs.length, total)} />
      )}
      <ul class="runs">
        {shown.map((run) => (
          <li key={`${run.id} ${run.state}`}>
            <Run
              run={run}
              isBusy={isBusy}
              isSelected={chosen.includes(run.id)}
              onToggle={toggle}
              onResume={onResume}
            />
          </li>
        ))}
      </ul>
      {chosen.length > 0 && <CompareBar ids={chosen} onClear={() => setSelected([])} />}
    </section>
  );
}

/** Whether every word occurs in the run's name, model, method or state. */
function isWanted({ name, base, how, state }: RunSummary, words: string): boolean {
  const text = [name, base, how, state].join(" ").toLowerCase();
  return words
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

interface FilterProps {
  readonly text: string;
  readonly onChange: (text: string) => void;
  readonly count: number;
  /** Text about the number of all runs. */
  readonly of: string;
}

/** `12 runs`, or `newest 500 of 600 runs` when not all are shown. */
function amountOf(count: number, total: number): string {
  return count < total ? `newest ${count} of ${total} runs` : `${count} runs`;
}

function Filter({ text, onChange, count, of }: FilterProps) {
  return (
    <search class="filter">
      <label for="run-filter">Filter</label>
      <input
        id="run-filter"
        type="search"
        value={text}
        placeholder="name, model, metric or state"
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
      <p class="note" role="status">
        {text.trim() === "" ? of : `${count} of ${of}`}
      </p>
    </search>
  );
}

function Empty() {
  return (
    <section class="empty">
      <h2>No runs yet</h2>
      <p>
        Start one with <a href="#new">New run</a>, or with gprune prune in a terminal. Runs in this directory
        appear here.
      </p>
    </section>
  );
}

interface RunProps extends Pick<RunListProps, "isBusy" | "onResume"> {
  readonly run: RunSummary;
  readonly isSelected: boolean;
  readonly onToggle: (id: string) => void;
}

function Run({ run, isBusy, isSelected, onToggle, onResume }: RunProps) {
  const isFinished = run.state === "finished";
  return (
    <article class="run">
      <div class="who">
        <h3>
          {run.name} {!isFinished && <span class={`state ${run.state.split(" ")[0]}`}>{run.state}</span>}
        </h3>
        <p class="note">
          {run.base !== "" && <span title={run.base}>{lastPart(run.base)} · </span>}
          {run.how}
          {run.started !== null && <> · {moment(run.started)}</>}
        </p>
        {run.note !== null && <p class="note">{run.note}</p>}
      </div>
      {run.outcome !== null && <Outcome figures={run.outcome} />}
      <div class="actions">
        {isFinished && (
          <label class="choice">
            <input type="checkbox" checked={isSelected} onChange={() => onToggle(run.id)} />
            Compare<span class="unseen"> {run.name}</span>
          </label>
        )}
        {isFinished && <ReportLink id={run.id} text="Report" />}
        {run.state === "unfinished" && <Resume run={run} isBusy={isBusy} onResume={onResume} />}
        {run.settings !== null && (
          <a class="action" href={`#new?${new URLSearchParams({ like: run.id })}`}>
            New like this<span class="unseen"> {run.name}</span>
          </a>
        )}
      </div>
    </article>
  );
}

function Outcome({ figures }: { figures: RunFigures }) {
  const { removed, parameters, perplexity, seconds, peakBytes } = figures;
  return (
    <dl class="figures">
      <Figure name="Removed" value={percent(removed)} note="of attention and FFN" />
      <Figure name="Parameters" value={short(parameters.after)} note={`of ${short(parameters.before)}`} />
      {perplexity === null ? (
        <Figure name="Perplexity" value="–" note="not measured" />
      ) : (
        <Figure
          name="Perplexity"
          value={times(perplexity.pruned / perplexity.dense)}
          note={`${amount(perplexity.dense)} → ${amount(perplexity.pruned)}, ${perplexity.on}`}
        />
      )}
      <Figure name="Took" value={duration(seconds)} note={bytes(peakBytes)} />
    </dl>
  );
}

function Figure({ name, value, note }: { name: string; value: string; note: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        <span class="amount">{value}</span> <span class="note">{note}</span>
      </dd>
    </div>
  );
}

function Resume({ run: { id, name }, isBusy, onResume }: Omit<RunProps, "isSelected" | "onToggle">) {
  const [problem, setProblem] = useState<Problem | null>(null);
  const resume = async (): Promise<void> => {
    const refused = await post("/api/resume", { id });
    setProblem(refused);
    if (refused === null) onResume(id);
  };
  return (
    <>
      {problem !== null && <ProblemNote problem={problem} />}
      <button type="button" class="action primary" disabled={isBusy} onClick={resume}>
        Resume<span class="unseen"> {name}</span>
      </button>
    </>
  );
}

function CompareBar({ ids, onClear }: { ids: readonly string[]; onClear: () => void }) {
  const query = ids.map((id) => `run=${encodeURIComponent(id)}`).join("&");
  const isTooFew = ids.length < 2;
  const isTooMany = ids.length > MAX_COMPARED;
  return (
    <section class="compare" aria-label="Comparison">
      <p role="status">
        {isTooFew ? "1 run selected; select another one" : `${ids.length} runs selected`}
        {isTooMany && `; at most ${MAX_COMPARED} can be compared`}
      </p>
      <button type="button" class="action" onClick={onClear}>
        Clear
      </button>
      {!isTooFew && !isTooMany && (
        <a class="action primary" href={`/runs/compare?${query}`} target="_blank" rel="noopener">
          Compare<span class="unseen"> in a new tab</span>
        </a>
      )}
    </section>
  );
}
