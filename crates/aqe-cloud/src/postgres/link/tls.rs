//! TLS by libpq's rules. rustls always verifies everything, so each weaker mode is a verifier of its own.

use std::path::Path;
use std::sync::Arc;

use aqe_sync_core::{Error, ErrorKind, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{Address, Endpoint, Roots, SslMode};

/// Makes the TLS side of a connection.
pub(super) fn connector(address: &Address) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier { check: check(address)?, provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("TLS cannot be set up: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match &address.client_certificate {
        None => config.with_no_client_auth(),
        Some(own) => {
            let chain = certificates(&own.chain, "sslcert")?;
            let key = PrivateKeyDer::from_pem_file(&own.key).map_err(|error| {
                unreadable("sslkey", &own.key, error).advice("a key that is locked with a passphrase cannot be used")
            })?;
            config.with_client_auth_cert(chain, key).map_err(|error| {
                Error::new(ErrorKind::Invalid, format!("the files of sslcert and sslkey do not fit together: {error}"))
                    .context("sslcert", own.chain.display())
            })?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

/// The name that goes into the handshake. Where nobody compares it, one that could not be in a
/// certificate must not stop the connection.
pub(super) fn server_name(address: &Address) -> String {
    let Endpoint::Tcp(host) = &address.endpoint else {
        return "localhost".to_owned();
    };
    let bare = host.split_once('%').map_or(host.as_str(), |(address, _)| address);
    match ServerName::try_from(bare) {
        Err(_) if address.ssl_mode != SslMode::VerifyFull => "localhost".to_owned(),
        _ => bare.to_owned(),
    }
}

/// TLS that checks the chain and the name, for whatever else is spoken to beside a database.
#[cfg(feature = "iap")]
pub(crate) fn verified(roots: &Roots) -> Result<ClientConfig> {
    let store = match roots {
        Roots::System => system_roots(Some(roots))?,
        Roots::File(path) => {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(certificates(path, "the relay's authority")?);
            store
        }
    };
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("TLS cannot be set up: {error}")))?;
    Ok(config.with_root_certificates(store).with_no_client_auth())
}

fn check(address: &Address) -> Result<Check> {
    let with_name = match address.ssl_mode {
        SslMode::VerifyFull => true,
        SslMode::VerifyCa => false,
        SslMode::Disable | SslMode::Prefer | SslMode::Require => return Ok(Check::Nothing),
    };
    match address.roots_file() {
        Some(path) => {
            let given = certificates(path, "sslrootcert")?;
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(given.iter().cloned());
            Ok(Check::Chain { roots, pinned: given, with_name })
        }
        None => Ok(Check::Chain { roots: system_roots(address.roots.as_ref())?, pinned: Vec::new(), with_name }),
    }
}

fn system_roots(asked: Option<&Roots>) -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        let advice = match asked {
            Some(_) => "install the system's certificates (on Debian, the package ca-certificates)",
            None => {
                "name a file with sslrootcert=FILE, or install the system's (on Debian, the package ca-certificates)"
            }
        };
        let what = format!("this system knows no certificate authority to check the server against{why}");
        return Err(Error::new(ErrorKind::NotFound, what).advice(advice));
    }
    Ok(roots)
}

fn certificates(path: &Path, parameter: &'static str) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| unreadable(parameter, path, error))?;
    if read.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, format!("there is no certificate in the file of {parameter}"))
            .context("file", path.display())
            .advice("it must be in PEM form, with a line BEGIN CERTIFICATE"));
    }
    Ok(read)
}

fn unreadable(parameter: &'static str, path: &Path, error: rustls::pki_types::pem::Error) -> Error {
    let kind = match &error {
        rustls::pki_types::pem::Error::Io(error) if error.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        rustls::pki_types::pem::Error::Io(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            ErrorKind::PermissionDenied
        }
        _ => ErrorKind::Invalid,
    };
    Error::new(kind, format!("the file of {parameter} cannot be read: {error}"))
        .context("file", path.display())
        .caused_by(error)
}

/// What is asked of the server's certificate.
#[derive(Debug)]
enum Check {
    Nothing,
    Chain {
        roots: RootCertStore,
        /// A certificate that the user gave us is trusted as it is: self-signed ones, which are
        /// common, are marked as authorities and would be refused as a server's.
        pinned: Vec<CertificateDer<'static>>,
        with_name: bool,
    },
}

#[derive(Debug)]
struct Verifier {
    check: Check,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Check::Chain { roots, pinned, with_name } = &self.check {
            let parsed = ParsedCertificate::try_from(certificate)?;
            if !pinned.contains(certificate) {
                let algorithms = self.provider.signature_verification_algorithms.all;
                verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
            }
            if *with_name {
                verify_server_name(&parsed, name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
