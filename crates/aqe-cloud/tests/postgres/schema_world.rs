//! What the tests of the schema share: connections, names, tables, dumps.

use std::process::Command;
use std::sync::Arc;

use aqe_cloud::postgres::schema::{self, Hub, Mode, Setup};
use aqe_sync_core::{ColumnType, Identifier, Result, Role, TableSpec};
use aqe_sync_workspace::postgres::{Binaries, Database};
use tokio_postgres::{Client, NoTls};

pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) fn name(text: &str) -> Identifier {
    Identifier::new(text).unwrap()
}

pub(crate) async fn create(client: &Client, schema: &str) -> Result<Hub> {
    schema::open(client, &name(schema), Mode::Create(&Setup::default())).await
}

pub(crate) fn message<T>(result: Result<T>) -> String {
    result.err().expect("it should have been refused").to_string()
}

pub(crate) fn notes(columns: &[(&str, ColumnType)]) -> Arc<TableSpec> {
    let table = TableSpec::builder("notes").key("id", ColumnType::Text);
    columns.iter().fold(table, |table, (name, kind)| table.column(name, *kind)).build().unwrap()
}

pub(crate) fn with_vectors(table: &str) -> Arc<TableSpec> {
    TableSpec::builder(table)
        .key("id", ColumnType::Text)
        .column("embedding", ColumnType::Vector(3))
        .role(Role::Embedding)
        .build()
        .unwrap()
}

/// What `pg_dump` says, without the token that differs each time.
pub(crate) fn dump(database: &Database, binaries: &Binaries, what: &str) -> String {
    let output = Command::new(binaries.program("pg_dump"))
        .args(["--no-owner", "--no-comments", what, "-d", &database.url()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.contains("restrict ")).collect::<Vec<_>>().join("\n")
}
