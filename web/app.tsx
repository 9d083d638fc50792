/** The page: its views, and announcements for screen readers. */
import type { RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { LiveRun, UiState } from "../src/ui/api.ts";
import { LivePanel } from "./live_panel.tsx";
import { NewRun } from "./new_run.tsx";
import { ProblemNote } from "./problem_note.tsx";
import { RunList } from "./run_list.tsx";
import { useConnection } from "./server.ts";
import { stageRows } from "./stages.ts";

/** A view of the page, from the fragment of the address. */
interface Route {
  readonly view: "runs" | "new";
  /** Id of the run whose settings a new run starts with. */
  readonly like: string | null;
}

const HEADINGS: Readonly<Record<Route["view"], string>> = { runs: "Runs", new: "New run" };

export function App() {
  const connection = useConnection();
  const route = useRoute();
  switch (connection.kind) {
    case "waiting":
      return <p class="aside">Loading…</p>;
    case "refused":
      return (
        <main>
          <h1>gprune</h1>
          <ProblemNote problem={connection.problem} />
          <p class="aside">Open the address that gprune ui printed; it contains the access token.</p>
        </main>
      );
    case "open":
      return <Page state={connection.state} isLost={connection.isLost} route={route} />;
  }
}

function Page({ state, isLost, route }: { state: UiState; isLost: boolean; route: Route }) {
  const main = useRef<HTMLElement>(null);
  const title = useRef<HTMLHeadingElement>(null);
  const isFirst = useRef(true);
  const heading = HEADINGS[route.view];
  useEffect(() => {
    document.title = `${heading} · gprune`;
    if (!isFirst.current) title.current?.focus();
    isFirst.current = false;
  }, [heading]);
  return (
    <>
      <button type="button" class="skip action" onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      <Header state={state} route={route} title={title} />
      <main ref={main} tabIndex={-1}>
        {isLost && (
          <p class="problem" role="status">
            Connection lost. Check that gprune ui is running; the page reconnects automatically.
          </p>
        )}
        <Announcement live={state.live} />
        {route.view === "new" ? (
          <NewRun state={state} like={route.like} key={route.like} />
        ) : (
          <Runs state={state} />
        )}
      </main>
    </>
  );
}

interface HeaderProps {
  readonly state: UiState;
  readonly route: Route;
  readonly title: RefObject<HTMLHeadingElement | null>;
}

function Header({ state, route, title }: HeaderProps) {
  return (
    <header>
      <p class="kicker">
        <span>gprune {state.version}</span>
        <code>{state.directory}</code>
      </p>
      <div class="bar">
        <h1 ref={title} tabIndex={-1}>
          {HEADINGS[route.view]}
        </h1>
        {route.view === "new" ? (
          <a class="action" href="#runs">
            All runs
          </a>
        ) : (
          <a class="action primary" href="#new">
            New run
          </a>
        )}
      </div>
    </header>
  );
}

/** The run that was started last, and the list of all runs. */
function Runs({ state: { runs, total, live } }: { state: UiState }) {
  const [resumed, setResumed] = useState<string | null>(null);
  return (
    <>
      {live !== null && (
        <LivePanel
          live={live}
          listed={runs.find(({ id }) => id === live.id)?.state}
          isFollowed={live.id === resumed}
        />
      )}
      {(runs.length > 0 || live === null) && (
        <RunList runs={runs} total={total} isBusy={isActive(live)} onResume={setResumed} />
      )}
    </>
  );
}

/** Whether a run is in progress. */
function isActive(live: LiveRun | null): boolean {
  return live?.state === "running" || live?.state === "stopping";
}

/** Text for screen readers, which changes only with the stage and at the end. */
function Announcement({ live }: { live: LiveRun | null }) {
  const text =
    live === null
      ? ""
      : live.state === "running"
        ? `${live.name}: ${stageRows(live.stages).at(-1)?.name ?? "starting"}`
        : `${live.name}: ${live.state}`;
  return (
    <p class="unseen" role="status">
      {text}
    </p>
  );
}

function useRoute(): Route {
  const [route, setRoute] = useState(currentRoute);
  useEffect(() => {
    const follow = (): void => setRoute(currentRoute());
    window.addEventListener("hashchange", follow);
    return () => window.removeEventListener("hashchange", follow);
  }, []);
  return route;
}

function currentRoute(): Route {
  const [view, query = ""] = location.hash.slice(1).split("?");
  const like = new URLSearchParams(query).get("like");
  return view === "new" ? { view: "new", like } : { view: "runs", like: null };
}
