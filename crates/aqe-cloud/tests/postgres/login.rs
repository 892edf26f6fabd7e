//! A user who may do little, and goes with the test.

use aqe_sync_workspace::postgres::Database;

/// A user who may log in and nothing else.
pub(crate) struct Login<'d> {
    pub(crate) name: String,
    database: &'d Database,
}

impl<'d> Login<'d> {
    pub(crate) fn new(database: &'d Database) -> Self {
        let name = format!("login_{}", database.name());
        database.psql(&format!("CREATE USER {name}"));
        Self { name, database }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}?user={}", self.database.url(), self.name)
    }

    /// Grants, such as `USAGE ON SCHEMA aqe`.
    pub(crate) fn grant(&self, what: &str) {
        self.database.psql(&format!("GRANT {what} TO {}", self.name));
    }
}

impl Drop for Login<'_> {
    fn drop(&mut self) {
        // A test that failed may have left sessions; the database is dropped anyway.
        let _ = self.database.try_psql(&format!("DROP OWNED BY {}; DROP USER {}", self.name, self.name));
    }
}
