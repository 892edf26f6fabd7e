//! Flags of what prepares a hub: `init`, `env`.

#![allow(clippy::doc_markdown, reason = "these comments are the help texts, shown as they are")]

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Flags of `init`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct InitFlags {
    /// Print the hub's SQL, and change nothing
    #[arg(long)]
    pub(crate) print: bool,
}

/// What about environments' logins.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum EnvCommand {
    /// Makes a login that may write one environment's rows, and read everybody's
    Create(CreateFlags),
    /// Lists environments: their logins, when they were last synced, how many rows they have
    List,
    /// Takes an environment's login away and ends its sessions; its rows stay
    Revoke {
        /// The environment's name
        name: String,
        /// Remove the role from the server as well
        #[arg(long)]
        drop: bool,
    },
}

/// Flags of `env create`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct CreateFlags {
    /// The environment's name, as it says it with --env
    pub(crate) name: String,
    /// The login; one that is there is taken with the password that it has [default: named after the environment]
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// Give the login a new password if it has one already
    #[arg(long)]
    pub(crate) rotate: bool,
    /// Write the password to this new file, in the format of .pgpass, and do not show it
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Print the SQL, without a password, and change nothing
    #[arg(long, visible_alias = "dry-run")]
    pub(crate) print: bool,
}
