/** The progress bar of a terminal. Loaded only where there is one. */
import { Presets, SingleBar } from "cli-progress";
import type { OnProgress, ProgressEvent } from "../progress.ts";
import { type ProgressDisplay, Rate } from "./display.ts";
import { plainText } from "./terminal.ts";

const FORMAT = "{stage} {bar} {percentage} %  {rate}  {left}  {detail}";

/** One bar at a time: `calibrate  ████░░ 62 %  810 tokens/s  0:12 left  layer 19/30`. */
export function barDisplay(): ProgressDisplay {
  let bar: SingleBar | null = null;
  let rate = new Rate();
  let stage = "";
  const stop = (): void => {
    bar?.stop();
    bar = null;
  };
  const onProgress: OnProgress = (event) => {
    if (bar === null || event.stage !== stage) {
      stop();
      stage = event.stage;
      rate = new Rate();
      bar = newBar();
      bar.start(event.total, 0, payloadOf(event, rate));
    }
    bar.update(event.done, payloadOf(event, rate));
    if (event.done >= event.total) stop();
  };
  return { onProgress, stop };
}

function newBar(): SingleBar {
  // Signals are handled in exit.ts, which stops the display and so shows the cursor again.
  const options = { format: FORMAT, hideCursor: true, barsize: 28, gracefulExit: false };
  return new SingleBar({ ...options, stream: process.stderr }, Presets.shades_classic);
}

function payloadOf(event: ProgressEvent, rate: Rate): Record<string, string> {
  return {
    stage: plainText(event.stage).padEnd(10),
    rate: rate.text(event),
    left: rate.timeLeft(event),
    detail: plainText(event.detail ?? ""),
  };
}
