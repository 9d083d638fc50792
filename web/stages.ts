/** Stages as people count them, where the rounds of one stage are one row, and how fast they are. */
import type { LiveStage } from "../src/ui/api.ts";

export interface StageRow extends LiveStage {
  /** `3 of 8`; null for a stage without rounds. */
  readonly round: string | null;
}

/** Seconds that say something about a speed. */
const MIN_SECONDS = 0.01;

const ROUND = /^(.*) (\d+)[/](\d+)$/;

/** @param stages - in the order they ran */
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

/** Progress over all rounds; the stage has ended with the last. */
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

/** Units a second since the stage was first heard of; null while too little is done to know. */
export function speedOf({ begun, done, seconds }: Timed): number | null {
  return done > begun && seconds >= MIN_SECONDS ? (done - begun) / seconds : null;
}

/** Seconds that are left at this speed; null while it is not known. */
export function secondsLeft(stage: Timed): number | null {
  const speed = speedOf(stage);
  return speed === null ? null : (stage.total - stage.done) / speed;
}
