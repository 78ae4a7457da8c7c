//! The keys of one control plane: an authority of its own, what the API server shows and signs with, and client certificates.
//!
//! Made anew for each control plane and kept in its folder. Trusted by nobody else.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};

/// A certificate and its key, both as PEM.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// The authority and the files the API server reads.
#[derive(Debug)]
pub(crate) struct Certificates {
    folder: PathBuf,
    authority: Issuer<'static, KeyPair>,
    authority_pem: String,
}

impl Certificates {
    /// Makes an authority and everything the programs need, as files in `folder`.
    pub(crate) fn make(folder: &Path, addresses: &[IpAddr]) -> Result<Self, CertificateError> {
        std::fs::create_dir_all(folder)?;
        let key = new_key()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, "tenure control plane");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority_pem = params.self_signed(&key)?.pem();
        let authority = Issuer::new(params, key);
        let certificates = Self { folder: folder.to_owned(), authority, authority_pem };

        std::fs::write(certificates.authority_file(), &certificates.authority_pem)?;
        let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let names = names.into_iter().map(str::to_owned).chain(addresses.iter().map(IpAddr::to_string));
        let server = certificates.sign(names.collect(), ExtendedKeyUsagePurpose::ServerAuth, |name| {
            name.push(DnType::CommonName, "kube-apiserver");
        })?;
        std::fs::write(certificates.server_certificate_file(), server.certificate)?;
        std::fs::write(certificates.server_key_file(), server.key)?;
        let tokens = new_key()?;
        std::fs::write(certificates.token_key_file(), tokens.serialize_pem())?;
        std::fs::write(certificates.token_public_key_file(), tokens.public_key_pem())?;
        Ok(certificates)
    }

    /// A client certificate for a user in a group.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Result<Identity, CertificateError> {
        self.sign(Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, |name| {
            name.push(DnType::CommonName, user);
            if let Some(group) = group {
                name.push(DnType::OrganizationName, group);
            }
        })
    }

    fn sign(
        &self,
        names: Vec<String>,
        purpose: ExtendedKeyUsagePurpose,
        subject: impl FnOnce(&mut rcgen::DistinguishedName),
    ) -> Result<Identity, CertificateError> {
        let key = new_key()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        subject(&mut params.distinguished_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &self.authority)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }

    pub(crate) fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    pub(crate) fn authority_file(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    pub(crate) fn server_certificate_file(&self) -> PathBuf {
        self.folder.join("server.crt")
    }

    pub(crate) fn server_key_file(&self) -> PathBuf {
        self.folder.join("server.key")
    }

    pub(crate) fn token_key_file(&self) -> PathBuf {
        self.folder.join("service-accounts.key")
    }

    pub(crate) fn token_public_key_file(&self) -> PathBuf {
        self.folder.join("service-accounts.pub")
    }
}

fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

/// Why keys could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// They could not be written down.
    #[error("cannot write a key file")]
    File(#[from] std::io::Error),
    /// They could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
}
