//! Certificates for a server that offers TLS.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// A certificate authority made for one test, a server certificate and one for the database user
/// `badge` that it signed, and a second authority that signed nothing.
#[derive(Debug)]
pub struct Certificates {
    ca: PathBuf,
    other_ca: PathBuf,
    server: PathBuf,
    server_key: PathBuf,
    client: PathBuf,
    client_key: PathBuf,
}

impl Certificates {
    /// Makes them for a server of that name, as files in `folder`.
    pub fn write(folder: &Path, name: &str) -> Self {
        let at = |file: &str| folder.join(file);
        let made = Self {
            ca: at("ca.pem"),
            other_ca: at("other-ca.pem"),
            server: at("server.pem"),
            server_key: at("server.key"),
            client: at("client.pem"),
            client_key: at("client.key"),
        };
        let ca = authority("aqe-sync test authority");
        let key = KeyPair::generate().expect("a key can be generated");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("the name is a host name");
        params.distinguished_name.push(DnType::CommonName, name);
        let server = params.signed_by(&key, &ca).expect("the authority can sign");
        write(&made.ca, &ca.pem());
        write(&made.other_ca, &authority("aqe-sync other test authority").pem());
        write(&made.server, &server.pem());
        write(&made.server_key, &key.serialize_pem());
        // PostgreSQL refuses a key that others can read.
        fs::set_permissions(&made.server_key, fs::Permissions::from_mode(0o600)).expect("the file is ours");
        let key = KeyPair::generate().expect("a key can be generated");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "badge");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        write(&made.client, &params.signed_by(&key, &ca).expect("the authority can sign").pem());
        write(&made.client_key, &key.serialize_pem());
        fs::set_permissions(&made.client_key, fs::Permissions::from_mode(0o600)).expect("the file is ours");
        made
    }

    /// Returns the file of the authority that signed the server's certificate.
    pub fn ca_file(&self) -> &Path {
        &self.ca
    }

    /// Returns the file of an authority that did not sign it.
    pub fn other_ca_file(&self) -> &Path {
        &self.other_ca
    }

    /// Returns the file of the server's certificate.
    pub fn server_file(&self) -> &Path {
        &self.server
    }

    /// Returns the file of the certificate of the database user `badge`.
    pub fn client_file(&self) -> &Path {
        &self.client
    }

    /// Returns the file of that user's private key.
    pub fn client_key_file(&self) -> &Path {
        &self.client_key
    }

    /// Returns the file of the server's private key.
    pub fn server_key_file(&self) -> &Path {
        &self.server_key
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key can be generated");
    CertifiedIssuer::self_signed(params, key).expect("an authority can sign itself")
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
}
