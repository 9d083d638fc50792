/** The run that was started last: stages, speed, memory, losses, and how it ended. */
import type { RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { bytes } from "../src/report/format.ts";
import type { LiveRun, LiveState, Problem, RunSummary } from "../src/ui/api.ts";
import { CurveChart } from "./curve_chart.tsx";
import { clock, rate } from "./format.ts";
import { ProblemNote } from "./problem_note.tsx";
import { ReportLink } from "./report_link.tsx";
import { post } from "./server.ts";
import { type StageRow, secondsLeft, speedOf, stageRows } from "./stages.ts";

const STATES: Readonly<Record<LiveState, string>> = {
  running: "Running",
  stopping: "Stopping",
  finished: "Finished",
  stopped: "Stopped",
  failed: "Failed",
};

/** Titles and x-axis units of the charts, by stage. */
const CURVES: Readonly<Record<string, { readonly title: string; readonly unit: string }>> = {
  learn: { title: "Loss of each set, nats per token", unit: "round" },
  distill: { title: "Divergence from the dense model, nats per token", unit: "step" },
};

interface LivePanelProps {
  readonly live: LiveRun;
  /** State of the run in the list; undefined when it is not listed. */
  readonly listed: RunSummary["state"] | undefined;
  /** Whether a button elsewhere resumed it, so that the focus should move here. */
  readonly isFollowed: boolean;
}

export function LivePanel({ live, listed, isFollowed }: LivePanelProps) {
  const rows = stageRows(live.stages);
  const isActive = live.state === "running" || live.state === "stopping";
  const title = useRef<HTMLHeadingElement>(null);
  return (
    <section class="live" aria-labelledby="live-title">
      <div class="bar">
        <h2 id="live-title" ref={title} tabIndex={-1}>
          {live.name} <span class={`state ${live.state}`}>{STATES[live.state]}</span>
        </h2>
        <Actions live={live} listed={listed} isFollowed={isFollowed} title={title} />
      </div>
      <p class="aside">
        Pruning <code>{live.base}</code>
      </p>
      {live.failure !== null && <ProblemNote problem={live.failure} />}
      <Figures live={live} current={rows.at(-1)} isActive={isActive} />
      <div class="row">
        <Stages rows={rows} state={live.state} />
        {Object.entries(CURVES).map(([stage, words]) => {
          const curves = live.curves.filter((curve) => curve.stage === stage);
          return curves.length > 0 && <CurveChart key={stage} curves={curves} {...words} />;
        })}
      </div>
      {live.log.length > 0 && (
        <details class="log">
          <summary>Messages</summary>
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard */}
          <pre tabIndex={0}>{live.log.join("\n")}</pre>
        </details>
      )}
    </section>
  );
}

interface ActionsProps extends LivePanelProps {
  readonly title: RefObject<HTMLHeadingElement | null>;
}

function Actions({ live, listed, isFollowed, title }: ActionsProps) {
  const [problem, setProblem] = useState<Problem | null>(null);
  const hasAsked = useRef(false);
  const ask = async (path: string, body?: unknown): Promise<void> => {
    hasAsked.current = true;
    setProblem(await post(path, body));
  };
  // A pressed button disappears when its request has succeeded, and would take the focus with it.
  useEffect(() => {
    const isFree = document.activeElement === document.body;
    if (isFree && (hasAsked.current || isFollowed)) title.current?.focus();
  }, [live.state, isFollowed]);
  const isActive = live.state === "running" || live.state === "stopping";
  const isOver = live.state === "stopped" || live.state === "failed";
  return (
    <div class="actions">
      {problem !== null && <ProblemNote problem={problem} />}
      {live.state === "finished" && <ReportLink id={live.id} text="Open report" isPrimary />}
      {isActive && (
        <button type="button" class="action" onClick={() => ask("/api/stop")}>
          {live.state === "stopping" ? "Stop at once" : "Stop"}
        </button>
      )}
      {isOver && listed === "unfinished" && (
        <button type="button" class="action primary" onClick={() => ask("/api/resume", { id: live.id })}>
          Resume<span class="unseen"> {live.name}</span>
        </button>
      )}
      {isOver && listed === undefined && (
        <a class="action" href={`#new?${new URLSearchParams({ like: live.id })}`}>
          New like this<span class="unseen"> {live.name}</span>
        </a>
      )}
    </div>
  );
}

function Figures({
  live,
  current,
  isActive,
}: {
  live: LiveRun;
  current: StageRow | undefined;
  isActive: boolean;
}) {
  const elapsed = useElapsed(live, isActive);
  const last = live.stages.at(-1);
  return (
    <ul class="cards">
      <li>
        <span class="label">Stage</span>
        <span class="value">{current?.name ?? (isActive ? "starting" : "none")}</span>
        <span class="note">
          {[current?.round, current?.ended ? "done" : current?.detail].filter(Boolean).join(", ")}
        </span>
      </li>
      <li>
        <span class="label">Speed</span>
        <span class="value">{last === undefined ? "–" : rate(speedOf(last), last.unit)}</span>
        <span class="note">{last !== undefined && "of this stage"}</span>
      </li>
      <li>
        <span class="label">Memory</span>
        <span class="value">
          {live.memory === null ? "–" : bytes(isActive ? live.memory.now : live.memory.peak)}
        </span>
        <span class="note">
          {live.memory !== null && (isActive ? `peak ${bytes(live.memory.peak)}` : "peak")}
        </span>
      </li>
      <li>
        <span class="label">Time</span>
        <span class="value">{clock(elapsed)}</span>
        <span class="note">{isActive ? "so far" : "total"}</span>
      </li>
    </ul>
  );
}

/** Seconds since the run began, counting on between two messages. */
function useElapsed(live: LiveRun, isActive: boolean): number {
  const [more, setMore] = useState(0);
  useEffect(() => {
    setMore(0);
    if (!isActive) return;
    const start = performance.now();
    const timer = setInterval(() => setMore((performance.now() - start) / 1000), 500);
    return () => clearInterval(timer);
  }, [live, isActive]);
  return live.elapsed / 1000 + more;
}

function Stages({ rows, state }: { rows: readonly StageRow[]; state: LiveState }) {
  const isActive = state === "running" || state === "stopping";
  return (
    <div class="facts">
      <h3>Stages</h3>
      {rows.length === 0 && (
        <p class="note">{isActive ? "No stage has started yet." : "No stage was started."}</p>
      )}
      <ol class="stages">
        {rows.map((row, index) => (
          <li key={`${index} ${row.name}`} class={row.ended ? "ended" : "current"}>
            <span class="tick" aria-hidden="true">
              {row.ended ? "✓" : "•"}
            </span>
            <span>
              {row.name}
              {row.ended && <span class="unseen">, done</span>}
            </span>
            <span class="note">
              {row.ended ? clock(row.seconds) : isActive ? left(row) : `${state} at ${share(row)}`}
            </span>
            {!row.ended && isActive && <progress max={row.total} value={row.done} aria-label={row.name} />}
          </li>
        ))}
      </ol>
    </div>
  );
}

/** `62 %` */
function share({ done, total }: StageRow): string {
  return `${Math.floor((100 * done) / Math.max(total, 1))} %`;
}

/** `62 %, 0:12 left` */
function left(row: StageRow): string {
  const seconds = secondsLeft(row);
  return seconds === null ? share(row) : `${share(row)}, ${clock(seconds)} left`;
}
