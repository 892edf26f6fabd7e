//! `aqe-sync`: arguments, configuration and output over the library crates.

mod args;
mod attempts;
mod command;
mod config;
mod exit;
mod facts;
mod hub;
mod log;
mod model;
mod output;
mod password;
mod project;
mod selection;
mod sources;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use args::{Arguments, Command, Global, LogFormat};
use command::Context;
use config::secret::mask_arguments;
use config::{Settings, Variables};
use exit::{Exit, Failure};
use output::{Terminal, Verbosity};

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _armed = aqe_sync_core::failpoint::arm();
    quiet_readers();
    let exit = match Arguments::try_parse() {
        Ok(arguments) => run(arguments),
        Err(error) => answer(&error),
    };
    exit.into()
}

/// A library that panics over a damaged file does so on a reader's thread, where
/// the panic is caught and reported as that file's error: once is enough.
fn quiet_readers() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let reader =
            std::thread::current().name().is_some_and(|name| name.starts_with("read ") || name.starts_with("open "));
        if !reader {
            usual(panic);
        }
    }));
}

/// Help and version are answers; everything else is wrong usage, whose message
/// must not repeat a password that was given in the wrong place.
fn answer(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        // A reader that has gone away is no error.
        let _ = error.print();
        return Exit::Ok;
    }
    let message = masked(&error.render().to_string());
    let terminal = Terminal::new(Verbosity::Normal, false, true);
    terminal.error(message.trim_end().strip_prefix("error: ").unwrap_or(&message));
    Exit::Usage
}

/// A message without the passwords that stand on the command line, wherever
/// somebody put them.
fn masked(message: &str) -> String {
    let arguments = std::env::args_os().skip(1).map(|text| text.to_string_lossy().into_owned());
    let arguments: Vec<String> = arguments.collect();
    mask_arguments(message, arguments.iter().map(String::as_str))
}

fn run(mut arguments: Arguments) -> Exit {
    let global = arguments.global.clone();
    let (variables, problem) = match Variables::of_process() {
        Ok(variables) => (variables, None),
        Err(problem) => (Variables::default(), Some(problem)),
    };
    let verbosity = match &global {
        Global { quiet: true, .. } => Verbosity::Quiet,
        Global { verbose: true, .. } => Verbosity::Verbose,
        Global { .. } => Verbosity::Normal,
    };
    let json_lines = global.log_format == LogFormat::Json;
    log::start(json_lines, verbosity);
    let terminal = Terminal::new(verbosity, global.json, variables.no_color()).logging(json_lines);
    let outcome = match problem {
        Some(problem) => Err(problem),
        None => execute(&mut arguments, &global, &variables, &terminal),
    };
    outcome.unwrap_or_else(|failure| {
        terminal.error(&masked(&failure.message));
        failure.exit
    })
}

fn execute(
    arguments: &mut Arguments,
    global: &Global,
    variables: &Variables,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let command = arguments.take_command()?;
    let root = project::root(global.root.as_deref())?;
    let name = project::default_environment(&root.value);
    let load = || Settings::load(root.clone(), &name, global, variables);
    let settings = load()?;
    let patience = Duration::from_secs(global.wait);
    let context = Context { settings: &settings, terminal, patience };
    match command {
        Command::Sync(flags) => command::sync::run(&context, flags),
        Command::Watch(flags) => watch::run(&context, &flags, global, &load),
        Command::Schedule(flags) => command::schedule::run(&context, &flags),
        Command::Status(flags) => command::status::run(&context, flags),
        Command::Alerts => command::alerts::run(&context),
        Command::History(flags) => command::history::run(&context, &flags),
        Command::Report(flags) => command::report::run(&context, &flags),
        Command::DeadLetters(flags) => command::dead_letters::run(&context, &flags),
        Command::Verify(flags) => command::verify::run(&context, flags),
        Command::Doctor => command::doctor::run(&context),
        Command::Config => command::config::run(&context),
        Command::Pull(flags) => command::pull::run(&context, &flags),
        Command::Fleet(what) => command::fleet::run(&context, &what),
        Command::Conflicts(flags) => command::conflicts::run(&context, &flags),
        Command::Search(flags) => command::search::run(&context, &flags),
        Command::Embed(flags) => command::embed::run(&context, &flags),
        Command::Init(flags) => command::init::run(&context, flags),
        Command::Env(what) => command::env::run(&context, &what),
    }
}
