//! The name of a secret in Google Secret Manager, as a configuration gives it.

use std::fmt;
use std::str::FromStr;

use aqe_sync_core::{Error, ErrorKind};

const SCHEME: &str = "gcp-secret://";
const SHAPE: &str = "write gcp-secret://PROJECT/SECRET, or gcp-secret://PROJECT/SECRET/VERSION";
const LATEST: &str = "latest";

/// `gcp-secret://PROJECT/SECRET[/VERSION]`. The version is a number or an alias; the latest one
/// unless it is given.
///
/// ```
/// use aqe_cloud::secret::SecretName;
///
/// let name: SecretName = "gcp-secret://my-project/hub-password".parse()?;
/// assert_eq!(name.to_string(), "gcp-secret://my-project/hub-password/latest");
/// # Ok::<_, aqe_sync_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretName {
    project: String,
    secret: String,
    version: String,
}

impl SecretName {
    /// Whether a text is meant as one.
    pub fn is_meant(text: &str) -> bool {
        text.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
    }

    /// Returns the project's id or number.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// Returns the path of the secret's version below the service's `/v1/`.
    pub(super) fn resource(&self) -> String {
        format!("projects/{}/secrets/{}/versions/{}", self.project, self.secret, self.version)
    }
}

impl FromStr for SecretName {
    type Err = Error;

    /// Ids as in <https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets>;
    /// an older project's id may have the name of a domain in front (`example.com:project`).
    fn from_str(text: &str) -> Result<Self, Error> {
        // What is not the name of a secret may be one: it is not repeated.
        let wrong = |what: &str| Err(Error::new(ErrorKind::Invalid, what).advice(SHAPE));
        if !Self::is_meant(text) {
            return wrong("this is not the name of a secret in Google Secret Manager");
        }
        let mut parts = text[SCHEME.len()..].split('/');
        let (project, secret, version) = (parts.next(), parts.next(), parts.next());
        let (Some(project), Some(secret), None) = (project, secret, parts.next()) else {
            return wrong("the name of the secret has not two or three parts");
        };
        let version = version.unwrap_or(LATEST);
        let is_word = |text: &str, longest: usize, also: &[char]| {
            let fits = |c: char| c.is_ascii_alphanumeric() || also.contains(&c);
            (1..=longest).contains(&text.len()) && text.chars().all(fits)
        };
        if !is_word(project, 100, &['-', '.', ':']) || project.starts_with('.') {
            return wrong("the project of the secret is none");
        }
        if !is_word(secret, 255, &['-', '_']) {
            return wrong("a secret's name has letters, digits, - and _, 255 at most");
        }
        if !is_word(version, 63, &['-', '_']) {
            return wrong("the version of the secret is neither a number nor an alias");
        }
        Ok(Self { project: project.to_owned(), secret: secret.to_owned(), version: version.to_owned() })
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.project, self.secret, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_a_version() {
        for (text, resource) in [
            ("gcp-secret://p-1/hub_pw", "projects/p-1/secrets/hub_pw/versions/latest"),
            ("GCP-SECRET://123456/hub/7", "projects/123456/secrets/hub/versions/7"),
            ("gcp-secret://example.com:p/hub/prod", "projects/example.com:p/secrets/hub/versions/prod"),
        ] {
            assert_eq!(text.parse::<SecretName>().expect(text).resource(), resource);
        }
    }

    #[test]
    fn what_is_none_is_refused_and_not_repeated() {
        for text in [
            "hunter2",
            "gcp-secret://",
            "gcp-secret://hunter2",
            "gcp-secret://p/",
            "gcp-secret:///hunter2",
            "gcp-secret://p/hunter2/",
            "gcp-secret://p/hunter2/1/more",
            "gcp-secret://p/../hunter2",
            "gcp-secret://./hunter2",
            "gcp-secret://p/hunter2?x",
            "gcp-secret://p/hunter2/1:destroy",
            "gcp-secret://p/hunter2/1%2F",
            "gcp-secret://é/hunter2",
        ] {
            let error = text.parse::<SecretName>().expect_err(text);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2") && shown.contains("PROJECT/SECRET"), "{shown}");
        }
    }
}
