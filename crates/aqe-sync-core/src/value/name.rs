//! Names that must not be mixed up: environments, sources, streams, identifiers.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

macro_rules! name {
    ($(#[$meta:meta])* $type:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Takes the name as it is.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $type {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// One writer's name (`devpod`, `laptop`, `ci`); every hub row belongs to exactly one.
    Environment
}
name! {
    /// A local file or database, named by its path relative to the project root.
    SourceName
}
name! {
    /// One logical table read from a source.
    StreamName
}

name! {
    /// One installation of a writer: tells two machines, or two checkouts, apart that
    /// use one environment name by mistake. Empty where nobody cares to tell.
    Instance
}

impl Environment {
    /// The longest accepted name, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// Checks a name given by a person.
    ///
    /// # Errors
    /// When it is empty, longer than [`Self::MAX_BYTES`], holds a control character, or is
    /// a URL: that is a hub's address by mistake, perhaps with a password, and a name goes
    /// into every row. The message does not repeat it.
    pub fn parse(name: &str) -> Result<Self> {
        let problem = if name.trim().is_empty() {
            "an environment name cannot be empty"
        } else if name.len() > Self::MAX_BYTES {
            "an environment name has at most 255 bytes"
        } else if name.chars().any(char::is_control) {
            "an environment name cannot hold control characters"
        } else if name.contains("://") {
            "an environment name cannot be a URL"
        } else {
            return Ok(Self::new(name));
        };
        Err(Error::new(ErrorKind::Invalid, problem).advice("set --env or AQE_ENV to a name such as laptop or ci"))
    }
}

/// A stream of a source, written by one environment: the unit of change detection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Who writes it.
    pub environment: Environment,
    /// Where it is read.
    pub source: SourceName,
    /// Which logical table of the source.
    pub stream: StreamName,
}

impl StreamId {
    /// The part that tells writers of one environment apart.
    pub fn contributor(&self) -> Contributor {
        Contributor { source: self.source.clone(), stream: self.stream.clone() }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", self.environment, self.source, self.stream)
    }
}

/// One of the streams of an environment that can hold the same key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Contributor {
    /// Where it was read.
    pub source: SourceName,
    /// Which logical table of the source.
    pub stream: StreamName,
}

impl fmt::Display for Contributor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.source, self.stream)
    }
}

/// The name of a hub table or column; can only be printed into SQL quoted.
///
/// At most 63 bytes, as PostgreSQL keeps no more and would cut the rest silently.
///
/// ```
/// use aqe_sync_core::Identifier;
///
/// let name = Identifier::new("my \"table\"").unwrap();
/// assert_eq!(name.quoted().to_string(), r#""my ""table""""#);
/// assert!(Identifier::new("").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Identifier(Arc<str>);

impl Identifier {
    /// The longest name that every hub keeps whole, in bytes.
    pub const MAX_BYTES: usize = 63;

    /// Checks a name.
    ///
    /// # Errors
    /// When it is empty, too long or holds U+0000.
    pub fn new(name: &str) -> Result<Self> {
        if name.is_empty() || name.len() > Self::MAX_BYTES || name.contains('\0') {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{name:?} is not a usable table or column name: 1 to 63 bytes without U+0000 are"),
            ));
        }
        Ok(Self(name.into()))
    }

    /// The bare name, for comparing and for people.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as an SQL identifier, in double quotes.
    pub fn quoted(&self) -> Quoted<'_> {
        Quoted(&self.0)
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Identifier {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Any name as a quoted SQL identifier: the one place where quoting happens.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_named_by_a_person_and_not_by_a_hubs_address() {
        assert_eq!(Environment::parse("laptop:web").map(|name| name.to_string()).ok().as_deref(), Some("laptop:web"));
        for name in ["", "  ", "a\nb", "postgres://agent:hunter2@db/memory"] {
            let error = Environment::parse(name).expect_err(name).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
