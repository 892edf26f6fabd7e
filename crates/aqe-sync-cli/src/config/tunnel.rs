//! The way to a database on Google Cloud: what the file's `[gcp]` and the variables make of it.

use std::fmt;
use std::str::FromStr;

use aqe_cloud::secret::Secret;

use super::hub::Hub;
use super::layer::GcpLayer;
use super::setting::Setting;
use crate::exit::Failure;

/// PostgreSQL's.
const PORT: u16 = 5432;

/// How the database is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Through Google's relay, in this process.
    Iap,
    /// Through the Google Cloud SDK.
    Gcloud,
    /// Through a port that somebody else forwards.
    Forwarded,
    /// By the name that the instance has within its network.
    Direct,
}

impl FromStr for Way {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "iap" => Ok(Self::Iap),
            "gcloud" => Ok(Self::Gcloud),
            "forwarded" => Ok(Self::Forwarded),
            "direct" => Ok(Self::Direct),
            _ => Err(format!("{text:?} is none of iap, gcloud, forwarded, direct")),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iap => "iap",
            Self::Gcloud => "gcloud",
            Self::Forwarded => "forwarded",
            Self::Direct => "direct",
        })
    }
}

/// A database at the far end of a way.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Tunnel {
    /// How it is reached.
    pub(crate) way: Way,
    /// Whose instance it is; empty for a forwarded port, as the two below.
    pub(crate) project: String,
    /// Where.
    pub(crate) zone: String,
    /// Its name.
    pub(crate) instance: String,
    /// The database's port there.
    pub(crate) port: u16,
    /// Where the tunnel begins on this machine, if that is given.
    pub(crate) local_port: Option<u16>,
    /// The database, if it is named.
    pub(crate) database: Option<String>,
    /// Whom to log in as, if that is named.
    pub(crate) user: Option<String>,
    /// Another relay than Google's.
    pub(crate) relay: Option<String>,
    /// What would stand behind the `?` of a URL.
    pub(crate) parameters: Option<Secret>,
}

impl Tunnel {
    /// Returns the host and port of the hub's address.
    pub(crate) fn place(&self) -> (String, u16) {
        match self.way {
            Way::Forwarded => ("localhost".to_owned(), self.local_port.unwrap_or(self.port)),
            Way::Iap | Way::Gcloud => (self.instance.clone(), self.port),
            Way::Direct => (format!("{}.{}.c.{}.internal", self.instance, self.zone, self.project), self.port),
        }
    }
}

/// As a URL, without the parameters, which may hold a password.
impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let database = self.database.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
        let (host, port) = self.place();
        write!(f, "postgres://{user}{host}:{port}{database}")
    }
}

/// The hub that the settings name, where nothing else names one.
///
/// # Errors
/// A usage error when a way is asked for and what it needs is not all there.
pub(super) fn hub(gcp: &GcpLayer) -> Result<Option<Setting<Hub>>, Failure> {
    let Some(Setting { value: way, origin }) = way(gcp) else { return Ok(None) };
    let text = |setting: &Option<Setting<String>>| setting.as_ref().map(|setting| setting.value.clone());
    let needed = [
        (way == Way::Forwarded, gcp.tunnel_port.is_some(), "tunnel_port", "GCP_TUNNEL_PORT"),
        (way != Way::Forwarded, gcp.project.is_some(), "project", "GCP_PROJECT"),
        (way != Way::Forwarded, gcp.zone.is_some(), "zone", "GCP_ZONE"),
        (way != Way::Forwarded, gcp.instance.is_some(), "instance", "GCP_INSTANCE"),
    ];
    if let Some((_, _, key, variable)) = needed.iter().find(|(needed, there, ..)| *needed && !there) {
        return Err(Failure::usage(format!("{origin}: the tunnel {way} needs gcp.{key}, or the variable {variable}")));
    }
    let tunnel = Tunnel {
        way,
        project: text(&gcp.project).unwrap_or_default(),
        zone: text(&gcp.zone).unwrap_or_default(),
        instance: text(&gcp.instance).unwrap_or_default(),
        port: gcp.port.as_ref().map_or(PORT, |port| port.value),
        local_port: gcp.tunnel_port.as_ref().map(|port| port.value),
        database: text(&gcp.database),
        user: text(&gcp.user),
        relay: text(&gcp.relay),
        parameters: gcp.parameters.as_ref().map(|parameters| parameters.value.clone()),
    };
    Ok(Some(Setting::new(Hub::Tunnel(Box::new(tunnel)), origin)))
}

/// The way that is asked for, or that what is known suffices for: a port that is forwarded already
/// goes before a tunnel of our own.
fn way(gcp: &GcpLayer) -> Option<Setting<Way>> {
    if let Some(asked) = &gcp.tunnel {
        return Some(asked.clone());
    }
    if gcp.tunnel_port.is_some() {
        let named = gcp.database.as_ref().or(gcp.user.as_ref())?;
        return Some(Setting::new(Way::Forwarded, named.origin.clone()));
    }
    let (_, _, instance) = (gcp.project.as_ref()?, gcp.zone.as_ref()?, gcp.instance.as_ref()?);
    Some(Setting::new(Way::Iap, instance.origin.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::Origin;
    use super::*;

    fn set(text: &str) -> Setting<String> {
        Setting::new(text.to_owned(), Origin::Variable("GCP_INSTANCE"))
    }

    fn named() -> GcpLayer {
        let (project, zone, instance) = (Some(set("p")), Some(set("z")), Some(set("i")));
        GcpLayer { project, zone, instance, user: Some(set("u")), ..GcpLayer::default() }
    }

    fn shown(gcp: &GcpLayer) -> (Way, String) {
        match hub(gcp).expect("complete").expect("a hub").value {
            Hub::Tunnel(tunnel) => (tunnel.way, tunnel.to_string()),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn an_instance_is_reached_through_the_relay_unless_a_port_is_forwarded_already() {
        let mut gcp = named();
        assert_eq!(shown(&gcp), (Way::Iap, "postgres://u@i:5432".to_owned()));
        gcp.tunnel_port = Some(Setting::default(15_432));
        assert_eq!(shown(&gcp), (Way::Forwarded, "postgres://u@localhost:15432".to_owned()));
        gcp.tunnel = Some(Setting::default(Way::Gcloud));
        gcp.port = Some(Setting::default(5_433));
        assert_eq!(shown(&gcp), (Way::Gcloud, "postgres://u@i:5433".to_owned()));
        gcp.tunnel = Some(Setting::default(Way::Direct));
        assert_eq!(shown(&gcp), (Way::Direct, "postgres://u@i.z.c.p.internal:5433".to_owned()));
    }

    #[test]
    fn what_is_not_enough_names_no_hub_and_a_way_that_is_asked_for_says_what_it_needs() {
        let mut gcp = GcpLayer { zone: None, ..named() };
        assert_eq!(hub(&gcp).expect("nothing is asked"), None);
        gcp.tunnel = Some(Setting::default(Way::Iap));
        let failure = hub(&gcp).expect_err("no zone");
        assert!(failure.message.contains("gcp.zone") && failure.message.contains("GCP_ZONE"), "{}", failure.message);
        gcp.tunnel = Some(Setting::default(Way::Forwarded));
        let failure = hub(&gcp).expect_err("no port");
        assert!(failure.message.contains("GCP_TUNNEL_PORT"), "{}", failure.message);
    }

    #[test]
    fn every_way_is_read_as_it_is_shown() {
        for way in [Way::Iap, Way::Gcloud, Way::Forwarded, Way::Direct] {
            assert_eq!(way.to_string().parse(), Ok(way));
        }
        assert!("IAP".parse::<Way>().expect_err("none").contains("iap, gcloud, forwarded, direct"));
    }
}
