//! `aqe-sync env`: logins that may write one environment each.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use aqe_cloud::postgres::PostgresHub;
use aqe_cloud::postgres::isolation::{EnvironmentLogin, EnvironmentPlan, Listed, NewEnvironment, random_password};
use aqe_cloud::postgres::link::Secret;
use aqe_sync_core::{Environment, Identifier, tables};
use futures::executor::block_on;

use super::Context;
use crate::args::{CreateFlags, EnvCommand};
use crate::config::Hub;
use crate::exit::{Exit, Failure};
use crate::hub;
use crate::output::{Cell, Colour, Table, counted, plain};

/// Makes, lists or revokes environments' logins.
///
/// # Errors
/// A usage error over a hub that is a file; when the hub cannot be read, or this login may not.
pub(crate) fn run(context: &Context<'_>, what: &EnvCommand) -> Result<Exit, Failure> {
    if let Hub::Embedded { .. } = &context.settings.hub.value {
        return Err(Failure::usage(
            "the hub is a local file, and whoever may write the file may write all of it: environments are kept apart \
             in a hub in PostgreSQL only; name one with --hub postgres://USER@HOST/DATABASE",
        ));
    }
    let outcome = match what {
        EnvCommand::Create(flags) => create(context, flags),
        EnvCommand::List => list(context),
        EnvCommand::Revoke { name, drop } => revoke(context, name, *drop),
    };
    match outcome {
        Err(failure) if failure.exit == Exit::Failed => context.failed(failure),
        outcome => outcome,
    }
}

fn opened(context: &Context<'_>, look: bool) -> Result<PostgresHub, Failure> {
    let builder = hub::builder(context.settings)?;
    let builder = if look { builder.inspect() } else { builder.existing() };
    builder.open_if_there()?.ok_or_else(|| {
        Failure::failed(format!("there is no hub at {} yet: run aqe-sync init first", context.hub_shown()))
    })
}

fn create(context: &Context<'_>, flags: &CreateFlags) -> Result<Exit, Failure> {
    let terminal = context.terminal;
    let mut wanted = NewEnvironment::new(Environment::parse(&flags.name)?);
    if let Some(role) = &flags.role {
        wanted = wanted.login(Identifier::new(role)?);
    }
    if flags.rotate {
        wanted = wanted.rotate();
    }
    let hub = opened(context, flags.print)?;
    if flags.print {
        let plan = hub.plan_environment(&wanted)?;
        terminal.json(&serde_json::json!({
            "environment": flags.name, "role": plan.login().as_str(), "changed": false, "sql": plan.script(),
        }))?;
        terminal.result(&plan.script())?;
        return Ok(Exit::Ok);
    }
    hub.check_makes_environments()?;
    block_on(hub.prepare_all(tables::all()))?;
    let plan = hub.plan_environment(&wanted)?;
    let password = plan.gives_password().then(random_password).transpose()?;
    let kept = password.as_ref().map(|password| keep(context, flags, &plan, password)).transpose()?.flatten();
    let made = hub.make_environment(&plan, password.as_ref());
    if let (Err(_), Some(path)) = (&made, &kept) {
        // It holds nobody's password; who finds it there may delete it.
        let _ = std::fs::remove_file(path);
    }
    made?.iter().for_each(|note| terminal.warning(note));
    if plan.begins() {
        tell_of_the_others(context, &hub)?;
    }
    terminal.json(&serde_json::json!({
        "environment": flags.name, "role": plan.login().as_str(), "changed": !plan.is_done(), "password_file": kept,
    }))?;
    tell(context, &plan, password.as_ref(), kept.as_deref())?;
    Ok(Exit::Ok)
}

/// Puts the password where it was asked for, before anything depends on it.
fn keep(
    context: &Context<'_>,
    flags: &CreateFlags,
    plan: &EnvironmentPlan,
    password: &Secret,
) -> Result<Option<PathBuf>, Failure> {
    let Some(path) = &flags.password_file else {
        return if context.terminal.speaks() {
            Ok(None)
        } else {
            Err(Failure::usage(
                "--json and --quiet show no password, and nobody could find out later: say --password-file FILE too",
            ))
        };
    };
    let database = hub::address(context.settings)?.database().to_owned();
    let line = format!("*:*:{}:{}:{}\n", escaped(&database), escaped(plan.login().as_str()), password.expose());
    let written = new_private(path).and_then(|mut file| {
        file.write_all(line.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| {
        Failure::failed(format!(
            "cannot write the password to {}: {error}; nothing was changed: name a file that is not there yet",
            path.display()
        ))
    })?;
    Ok(Some(path.clone()))
}

/// A file that was not there, for its owner's eyes only.
fn new_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A field of a password file.
fn escaped(field: &str) -> String {
    field.replace('\\', "\\\\").replace(':', "\\:")
}

fn tell(
    context: &Context<'_>,
    plan: &EnvironmentPlan,
    password: Option<&Secret>,
    kept: Option<&Path>,
) -> Result<(), Failure> {
    let (terminal, environment, login) = (context.terminal, plan.environment(), plan.login());
    let line = if plan.is_done() {
        format!("nothing to do: environment {environment} has login {login} (--rotate gives it a new password)")
    } else {
        format!(
            "environment {environment} has login {login}, which may write only {environment} and read everybody's rows"
        )
    };
    terminal.result(&plain(&line))?;
    match (password, kept) {
        (Some(_), Some(path)) => terminal.result(&plain(&format!("its password is in {}", path.display())))?,
        (Some(password), None) => {
            terminal.result(&format!("its password, shown this once: {}", password.expose()))?;
        }
        (None, _) if !plan.is_done() => terminal.result("its password is the one that it had")?,
        (None, _) => {}
    }
    if !plan.is_done() {
        let line = format!("use it there with --env {environment} and {login} as the user in the hub's address");
        terminal.result(&plain(&line))?;
    }
    Ok(())
}

/// From the first login on nobody else writes: who did until now should know.
fn tell_of_the_others(context: &Context<'_>, hub: &PostgresHub) -> Result<(), Failure> {
    let others = hub.environments()?.environments.into_iter().filter(|each| each.role.is_none());
    let others: Vec<String> = others.map(|each| each.environment).collect();
    let others = if others.is_empty() { String::new() } else { format!("; without one so far: {}", others.join(", ")) };
    context.terminal.warning(&format!(
        "from now on the hub keeps environments apart: whoever is not its owner writes with a login made by aqe-sync \
         env create{others}"
    ));
    Ok(())
}

fn list(context: &Context<'_>) -> Result<Exit, Failure> {
    let listed = opened(context, true)?.environments()?;
    let terminal = context.terminal;
    let mut answer = serde_json::to_value(&listed).map_err(|error| Failure::failed(error.to_string()))?;
    answer["hub"] = context.hub_shown().into();
    terminal.json(&answer)?;
    let mut table = Table::new(&["environment", "login", "state", "created", "last synced", ">rows"]);
    for each in &listed.environments {
        table.row(vec![
            Cell::text(&each.environment),
            Cell::text(each.role.as_deref().unwrap_or("-")),
            state(each),
            Cell::text(each.created_at.as_deref().unwrap_or("-")),
            Cell::text(each.last_synced.as_deref().unwrap_or("never")),
            Cell::number(each.rows),
        ]);
    }
    if !table.is_empty() {
        terminal.result(&format!("{}\n", table.draw(terminal.paint)))?;
    }
    terminal.result(&plain(&format!("{}; hub {}", summary(&listed), context.hub_shown())))?;
    Ok(Exit::Ok)
}

fn state(each: &EnvironmentLogin) -> Cell {
    match each {
        EnvironmentLogin { role: None, .. } => Cell::text("no login"),
        EnvironmentLogin { active: true, .. } => Cell::text("active").colour(Colour::Green),
        EnvironmentLogin { revoked_at: Some(moment), .. } => Cell::text(format!("revoked {moment}")),
        EnvironmentLogin { .. } => Cell::text("the role cannot log in").colour(Colour::Yellow),
    }
}

fn summary(listed: &Listed) -> String {
    let count = counted(listed.environments.len() as u64, "environment");
    if listed.isolated {
        format!("{count}, kept apart: each is written by its own login and the hub's owner")
    } else {
        format!("{count}, not kept apart: whoever may write the tables writes any; aqe-sync env create NAME begins it")
    }
}

fn revoke(context: &Context<'_>, name: &str, drop: bool) -> Result<Exit, Failure> {
    let environment = Environment::parse(name)?;
    let revoked = opened(context, false)?.revoke_environment(&environment, drop)?;
    let terminal = context.terminal;
    revoked.notes.iter().for_each(|note| terminal.warning(note));
    terminal.json(&serde_json::json!({
        "environment": name, "role": revoked.login.as_str(), "changed": !revoked.before, "sessions_ended": revoked.sessions,
        "dropped": revoked.dropped,
    }))?;
    let login = &revoked.login;
    let before = if revoked.before { "was revoked already" } else { "is revoked" };
    let ended = match revoked.sessions {
        0 => String::new(),
        sessions => format!("; {} ended", counted(sessions, "session")),
    };
    let role = if revoked.dropped { "; the role is gone from the server" } else { "" };
    terminal.result(&plain(&format!("login {login} of {name} {before}{ended}{role}; the rows of {name} stay")))?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_is_new_and_its_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pass");
        drop(new_private(&path).expect("made"));
        assert!(new_private(&path).is_err(), "nothing is overwritten");
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().expect("there").permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(escaped(r"a:b\c"), r"a\:b\\c");
    }
}
