#!/usr/bin/env node
/** The command line. Modules that compute are imported only by the commands that need them. */
import { Command, CommanderError } from "commander";
import { versions } from "../base/package.ts";
import { compileOnMainThread } from "../io/files/machine.ts";
import { notes } from "./common.ts";
import {
  compareCommand,
  evalCommand,
  generateCommand,
  inspectCommand,
  reportCommand,
} from "./evaluate_commands.ts";
import { fail, handleExits, writeUsageError } from "./exit.ts";
import { exportCommand, pushCommand } from "./export_commands.ts";
import { requireNoMoreWords, requireWords } from "./options.ts";
import { demoCommand, pruneCommand, sensitivityCommand } from "./prune_commands.ts";
import { isComputeChild } from "./role.ts";
import { uiCommand, workerCommand } from "./service_commands.ts";
import { mindStreams, writeErr, writeOut } from "./terminal.ts";

const program = new Command("gprune")
  .description(
    "Makes transformer language models smaller so that they still work on data outside the calibration sets.",
  )
  .version(versions().gprune, "-V, --version", "print the version")
  .showSuggestionAfterError()
  .showHelpAfterError("hint: `gprune --help` shows all commands.")
  .configureHelp({ subcommandTerm: (command) => command.name(), minWidthToWrap: 20 })
  .exitOverride()
  .configureOutput({ writeOut, writeErr, outputError: writeUsageError })
  .addHelpText(
    "after",
    notes(`
Progress goes to stderr, results to stdout. Exit codes: 0 success, 1 wrong input, 2 a bug in gprune, 130 and 143
interrupted; ui and worker exit with 0 when they are stopped. An output directory appears complete or not at all; an
interrupted prune can be resumed.

Models from the hub are kept in its usual cache; HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are
respected, and so are NO_COLOR and FORCE_COLOR.

Examples:
  $ gprune demo
  $ gprune prune MODEL -o SMALLER --sparsity 0.3 --calib web=web.txt code=code.jsonl
  $ gprune eval SMALLER --text news=news.txt --baseline MODEL
  $ gprune prune --help`),
  );

for (const command of [
  pruneCommand,
  evalCommand,
  compareCommand,
  reportCommand,
  exportCommand,
  inspectCommand,
  sensitivityCommand,
  generateCommand,
  pushCommand,
  uiCommand,
  workerCommand,
  demoCommand,
]) {
  command.copyInheritedSettings(program).allowExcessArguments();
  command.showHelpAfterError(`hint: \`gprune ${command.name()} --help\` shows options and examples.`);
  program.addCommand(command);
}

program.addCommand(
  new Command("help")
    .description("display help for command")
    .argument("[command]")
    .exitOverride()
    .action(async (name?: string) => {
      const about =
        name === undefined ? program : program.commands.find((command) => command.name() === name);
      // An unknown command gives the same error as without "help".
      if (about === undefined) await program.parseAsync([name!], { from: "user" });
      else about.help();
    }),
);
program.helpCommand(false);

program.hook("preAction", (_, command) => {
  requireNoMoreWords(command);
  requireWords(command);
});

compileOnMainThread();
mindStreams();
if (!isComputeChild()) handleExits();
try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode;
  else fail(error);
}
