//! Which contributions count here.

use std::collections::BTreeSet;

use super::contribution::Contribution;
use super::merge::merge;
use crate::{Environment, Role, TableSpec};

/// Whose contributions are taken, and which records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trust {
    /// Environments that have no influence.
    pub excluded: BTreeSet<Environment>,
    /// Only these have any, if there is such a list.
    pub only: Option<BTreeSet<Environment>>,
    /// How sure the fleet has to be of a record, 0 to 1. Records whose table does not say
    /// how sure anybody is pass.
    pub min_confidence: Option<f64>,
    /// In how many environments a record has to be, this one included.
    pub min_environments: usize,
}

impl Trust {
    /// What `environment` takes from others of the contributions to one key: nothing where
    /// the record that all trusted ones make up, its own included, does not pass.
    pub fn others(
        &self,
        table: &TableSpec,
        environment: &Environment,
        contributions: Vec<Contribution>,
    ) -> Vec<Contribution> {
        let mut trusted = contributions;
        trusted.retain(|one| one.environment == *environment || self.takes(&one.environment));
        let passes = merge(table, &trusted).is_some_and(|record| {
            let confidence = table.position_of_role(&Role::Confidence).map(|position| &record.row.values[position]);
            let confidence = confidence.and_then(crate::Value::as_f64);
            let sure = self.min_confidence.is_none_or(|least| confidence.is_none_or(|sure| sure >= least));
            sure && record.environments.len() >= self.min_environments
        });
        trusted.retain(|one| passes && one.environment != *environment && !one.deleted);
        trusted
    }

    fn takes(&self, environment: &Environment) -> bool {
        !self.excluded.contains(environment) && self.only.as_ref().is_none_or(|only| only.contains(environment))
    }
}
