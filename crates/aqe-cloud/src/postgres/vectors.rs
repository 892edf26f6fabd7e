//! How vectors travel to one hub.

use aqe_sync_core::ColumnType;
use postgres_types::{Kind, Type};

use super::schema::{Flavour, VectorKind, sql_type};

/// The vector type of a hub, and how it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Vectors {
    flavour: Flavour,
    types: Option<(Type, Type)>,
}

impl Vectors {
    pub(crate) fn new(flavour: Flavour) -> Self {
        let named = |name: &str, oid, kind| Type::new(name.to_owned(), oid, kind, String::new());
        let types = flavour.extension().and_then(|extension| extension.types).map(|(element, array)| {
            let element = named("vector", element, Kind::Simple);
            let array = named("vectors", array, Kind::Array(element.clone()));
            (element, array)
        });
        Self { flavour, types }
    }

    pub(crate) fn kind(&self) -> VectorKind {
        self.flavour.kind()
    }

    /// The extension's version; empty where there is none.
    pub(crate) fn version(&self) -> &str {
        self.flavour.extension().map_or("", |extension| extension.version.as_str())
    }

    /// Whether the extension has an index for cosine distance.
    pub(crate) fn has_hnsw(&self) -> bool {
        self.flavour.has_hnsw()
    }

    /// A function or operator class of the extension, whatever the search path.
    pub(crate) fn function(&self, name: &str) -> String {
        self.flavour.qualified(name)
    }

    /// An operator of the extension, whatever the search path.
    pub(crate) fn operator(&self, name: &str) -> String {
        format!("OPERATOR({})", self.flavour.qualified(name))
    }

    /// The SQL type of a column.
    pub(crate) fn column_type(&self, column: ColumnType) -> String {
        sql_type(column, &self.flavour)
    }

    /// The type of one vector as an array's element; plain arrays cannot be one.
    pub(crate) fn element_type(&self) -> Option<Type> {
        self.types.as_ref().map(|(element, _)| element.clone())
    }

    /// The type of such arrays.
    pub(crate) fn array_type(&self) -> Option<Type> {
        self.types.as_ref().map(|(_, array)| array.clone())
    }
}
