/** The run that was started last: stages, speed, memory, losses, and how it ended. */
import { useEffect, useState } from "preact/hooks";
import { bytes } from "../src/report/format.ts";
import type { LiveRun, LiveState, Problem } from "../src/ui/api.ts";
import { CurveChart } from "./curve_chart.tsx";
import { clock, rate } from "./format.ts";
import { ProblemNote } from "./problem_note.tsx";
import { post } from "./server.ts";
import { type StageRow, stageRows } from "./stages.ts";

const STATES: Readonly<Record<LiveState, string>> = {
  running: "Running",
  stopping: "Stopping",
  finished: "Finished",
  stopped: "Stopped",
  failed: "Failed",
};

/** Titles of what stages measure, and of the steps they measure it in. */
const CURVES: Readonly<Record<string, { readonly title: string; readonly unit: string }>> = {
  learn: { title: "Loss of each set, nats per token", unit: "round" },
  distill: { title: "Divergence from the dense model, nats per token", unit: "step" },
};

interface LivePanelProps {
  readonly live: LiveRun;
  /** Whether it is in the list of runs, too. */
  readonly isListed: boolean;
}

export function LivePanel({ live, isListed }: LivePanelProps) {
  const rows = stageRows(live.stages);
  const isActive = live.state === "running" || live.state === "stopping";
  return (
    <section class="live" aria-labelledby="live-title">
      <div class="bar">
        <h2 id="live-title">
          {live.id} <span class={`state ${live.state}`}>{STATES[live.state]}</span>
        </h2>
        <Actions live={live} isActive={isActive} isListed={isListed} />
      </div>
      <p class="aside">
        Pruning <code>{live.base}</code>
      </p>
      {live.failure !== null && <ProblemNote problem={live.failure} />}
      <Figures live={live} current={rows.at(-1)} isActive={isActive} />
      <div class="row">
        <Stages rows={rows} />
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

function Actions({ live, isActive, isListed }: LivePanelProps & { readonly isActive: boolean }) {
  const [problem, setProblem] = useState<Problem | null>(null);
  const stop = async (): Promise<void> => setProblem(await post("/api/stop"));
  if (live.state === "finished") {
    return (
      <a
        class="action primary"
        href={`/runs/report?${new URLSearchParams({ run: live.id })}`}
        target="_blank"
        rel="noopener"
      >
        Open report<span class="unseen"> of {live.id} in a new tab</span>
      </a>
    );
  }
  return (
    <>
      {problem !== null && <ProblemNote problem={problem} />}
      {isActive && (
        <button type="button" class="action" onClick={stop}>
          {live.state === "stopping" ? "Stop at once" : "Stop"}
        </button>
      )}
      {live.state === "failed" && !isListed && (
        <a class="action" href={`#new?${new URLSearchParams({ like: live.id })}`}>
          New like this<span class="unseen"> {live.id}</span>
        </a>
      )}
    </>
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
        <span class="value">{current?.name ?? "starting"}</span>
        <span class="note">
          {[current?.round, current?.ended ? "done" : current?.detail].filter(Boolean).join(", ")}
        </span>
      </li>
      <li>
        <span class="label">Speed</span>
        <span class="value">{last === undefined ? "–" : rate(last.done, last.seconds, last.unit)}</span>
        <span class="note">of this stage</span>
      </li>
      <li>
        <span class="label">Memory</span>
        <span class="value">{live.memory === null ? "–" : bytes(live.memory.now)}</span>
        <span class="note">{live.memory === null ? "" : `${bytes(live.memory.peak)} at most`}</span>
      </li>
      <li>
        <span class="label">Time</span>
        <span class="value">{clock(elapsed)}</span>
        <span class="note">{isActive ? "so far" : "in all"}</span>
      </li>
    </ul>
  );
}

/** Seconds since the run began, counted on between two messages. */
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

function Stages({ rows }: { rows: readonly StageRow[] }) {
  return (
    <div class="facts">
      <h3>Stages</h3>
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
            <span class="note">{row.ended ? clock(row.seconds) : left(row)}</span>
            {!row.ended && <progress max={row.total} value={row.done} aria-label={row.name} />}
          </li>
        ))}
      </ol>
    </div>
  );
}

/** `62 %, 0:12 left` */
function left({ done, total, seconds }: StageRow): string {
  const share = `${Math.floor((100 * done) / Math.max(total, 1))} %`;
  if (done === 0 || seconds < 1) return share;
  return `${share}, ${clock((seconds * (total - done)) / done)} left`;
}
