//! How a hub keeps vectors: in ruvector, in pgvector, or in plain arrays.

use aqe_sync_core::Quoted;

/// What an index on ruvector's columns does, in its released versions.
pub(super) const RUVECTOR_INDEX: &str = "it loses rows, makes count(*) answer 0 and does not survive a crash of the \
                                         server, while searches without it are exact";

/// The type that a hub keeps its vectors in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VectorKind {
    /// The extension ruvector.
    Ruvector,
    /// The extension pgvector, whose type is named `vector`.
    Pgvector,
    /// No extension: `real[]`, searched exactly.
    None,
}

impl VectorKind {
    /// Extensions in the order in which a new hub prefers them.
    pub(super) const PREFERRED: [Self; 2] = [Self::Ruvector, Self::Pgvector];

    /// How `hub_info` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ruvector => "ruvector",
            Self::Pgvector => "vector",
            Self::None => "none",
        }
    }

    /// The kind that `hub_info` spells so.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Ruvector, Self::Pgvector, Self::None].into_iter().find(|kind| kind.as_str() == text)
    }

    /// The type's name, without its schema.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Ruvector => "ruvector",
            Self::Pgvector => "vector",
            Self::None => "_float4",
        }
    }

    /// What people call it.
    fn product(self) -> &'static str {
        match self {
            Self::Ruvector => "ruvector",
            Self::Pgvector => "pgvector",
            Self::None => "real[]",
        }
    }
}

/// A vector extension that is installed in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// What it is.
    pub kind: VectorKind,
    /// The schema that its type and functions live in.
    pub schema: String,
    /// Its version, empty where the type belongs to no extension.
    pub version: String,
    /// Whether it has an HNSW index for cosine distance.
    pub has_hnsw: bool,
    /// The server's identifiers of its type and of arrays of it, as far as they are known.
    pub types: Option<(u32, u32)>,
}

/// How one hub keeps vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flavour {
    kind: VectorKind,
    extension: Option<Extension>,
}

impl Flavour {
    /// Plain arrays.
    pub const NONE: Self = Self { kind: VectorKind::None, extension: None };

    /// The flavour of this kind as it is once its extension is installed where
    /// extensions usually are, in schema `public`.
    pub fn expected(kind: VectorKind) -> Self {
        let extension =
            Extension { kind, schema: "public".to_owned(), version: String::new(), has_hnsw: true, types: None };
        Self { kind, extension: (kind != VectorKind::None).then_some(extension) }
    }

    /// The flavour of this kind, with the extension that serves it if it is installed.
    pub(super) fn of(kind: VectorKind, installed: &[Extension]) -> Self {
        Self { kind, extension: installed.iter().find(|extension| extension.kind == kind).cloned() }
    }

    /// The best that is installed.
    pub(super) fn best(installed: &[Extension]) -> Self {
        VectorKind::PREFERRED
            .into_iter()
            .map(|kind| Self::of(kind, installed))
            .find(|flavour| flavour.extension.is_some())
            .unwrap_or(Self::NONE)
    }

    /// What it is.
    pub fn kind(&self) -> VectorKind {
        self.kind
    }

    /// The extension behind it; none for plain arrays, and where it is gone.
    pub fn extension(&self) -> Option<&Extension> {
        self.extension.as_ref()
    }

    /// Whether a vector can be stored and read.
    pub fn is_usable(&self) -> bool {
        self.kind == VectorKind::None || self.extension.is_some()
    }

    /// Whether it can index embeddings: pgvector learned that with 0.5.
    pub(in crate::postgres) fn has_hnsw(&self) -> bool {
        self.extension.as_ref().is_some_and(|extension| extension.has_hnsw)
    }

    /// A type, function or operator class of the extension, with its schema.
    pub fn qualified(&self, name: &str) -> String {
        match &self.extension {
            Some(extension) => format!("{}.{name}", Quoted(&extension.schema)),
            None => name.to_owned(),
        }
    }

    /// What a person should know about it, given what the database offers now.
    pub(super) fn warnings(&self, recorded: Option<&str>, installed: &[Extension]) -> Vec<String> {
        let product = self.kind.product();
        if !self.is_usable() {
            let version = recorded.map(|version| format!(" {version}")).unwrap_or_default();
            return vec![format!(
                "the hub keeps vectors in {product}{version}, which is no longer installed in the database; have a \
                 superuser run CREATE EXTENSION {}",
                self.kind.as_str()
            )];
        }
        let best = Self::best(installed);
        match (self.kind, best.extension) {
            (VectorKind::None, Some(extension)) => vec![format!(
                "the hub keeps vectors as real[], although {} {} is installed by now; searches stay exact. A hub that \
                 is still empty can be made anew: drop its schema and run aqe-sync init",
                extension.kind.product(),
                extension.version
            )],
            _ => Vec::new(),
        }
    }
}
