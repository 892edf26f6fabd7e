//! The program, run as its users run it.

#[cfg(unix)]
mod alerts;
#[cfg(unix)]
mod browser;
mod command_line;
mod dead_letters;
#[cfg(unix)]
mod doctor;
mod fleet;
#[cfg(unix)]
mod isolation;
mod locks;
mod operating;
mod postgres_hub;
mod program;
mod redaction;
#[cfg(unix)]
mod report;
#[cfg(unix)]
mod schedule;
#[cfg(target_os = "linux")]
mod secrets;
#[cfg(unix)]
mod tunnel;
#[cfg(unix)]
mod watch;
mod whole_projects;
