//! The machine at the far end.

use std::fmt;

/// A port of a virtual machine on Google Cloud.
///
/// ```
/// use aqe_cloud::tunnel::Instance;
///
/// let hub = Instance::new("my-project", "europe-west1-b", "hub").port(5433);
/// assert_eq!(hub.to_string(), "port 5433 of hub (zone europe-west1-b, project my-project)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub(super) project: String,
    pub(super) zone: String,
    pub(super) name: String,
    pub(super) interface: String,
    pub(super) port: u16,
}

impl Instance {
    /// Names a machine by its project, zone and name; PostgreSQL's port, 5432, on its first network interface.
    pub fn new(project: impl Into<String>, zone: impl Into<String>, name: impl Into<String>) -> Self {
        Self { project: project.into(), zone: zone.into(), name: name.into(), interface: "nic0".into(), port: 5432 }
    }

    /// Sets the port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets the network interface; `nic0` unless said otherwise.
    #[must_use]
    pub fn interface(mut self, interface: impl Into<String>) -> Self {
        self.interface = interface.into();
        self
    }

    /// Returns the machine's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {} of {} (zone {}, project {})", self.port, self.name, self.zone, self.project)
    }
}
