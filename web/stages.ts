/** Rows of the list of stages, where all rounds of a stage are one row, and their speeds. */
import type { LiveStage } from "../src/ui/api.ts";

/** A stage with all of its rounds. */
export interface StageRow extends LiveStage {
  /** `3 of 8`; null for a stage without rounds. */
  readonly round: string | null;
}

/** Least number of seconds for a meaningful speed. */
const MIN_SECONDS = 0.01;

const ROUND = /^(.*) (\d+)[/](\d+)$/;

/** Merges consecutive rounds of a stage into rows. @param stages - in the order in which they ran */
export function stageRows(stages: readonly LiveStage[]): readonly StageRow[] {
  const rows: StageRow[] = [];
  for (const stage of stages) {
    const [, base = stage.name, round, rounds] = ROUND.exec(stage.name) ?? [];
    const row = { ...stage, name: base, round: round === undefined ? null : `${round} of ${rounds}` };
    const last = rows.at(-1);
    if (round === undefined || last?.name !== base) {
      rows.push(withRounds(row, Number(round ?? 1), Number(rounds ?? 1)));
    } else {
      const whole = withRounds(row, Number(round), Number(rounds));
      rows[rows.length - 1] = { ...whole, begun: last.begun, seconds: row.seconds + last.seconds };
    }
  }
  return rows;
}

/** A row with its progress over all rounds; it has ended with the last one. */
function withRounds(row: StageRow, round: number, rounds: number): StageRow {
  if (rounds === 1) return row;
  const before = (round - 1) * row.total;
  return {
    ...row,
    begun: before + row.begun,
    done: before + row.done,
    total: rounds * row.total,
    ended: row.ended && round === rounds,
  };
}

type Timed = Pick<LiveStage, "begun" | "done" | "total" | "seconds">;

/** Units per second since the first event of the stage; null while too little is done. */
export function speedOf({ begun, done, seconds }: Timed): number | null {
  return done > begun && seconds >= MIN_SECONDS ? (done - begun) / seconds : null;
}

/** Seconds left at the current speed; null while that is unknown. */
export function secondsLeft(stage: Timed): number | null {
  const speed = speedOf(stage);
  return speed === null ? null : (stage.total - stage.done) / speed;
}
