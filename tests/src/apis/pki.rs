//! Certificates and keys of the real server.

use std::path::Path;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

/// Writes `ca`, `apiserver`, `front-proxy` (`.crt`, `.key`) and `accounts` (`.key`, `.pub`) into
/// `directory`; gives the CA's certificate.
pub(super) fn write(directory: &Path) -> Result<String> {
    let file = |name: &str, text: &str| std::fs::write(directory.join(name), text);
    let key = KeyPair::generate()?;
    let mut params = named("metalman-tests CA", &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key)?.pem();
    file("ca.crt", &ca)?;
    let issuer = Issuer::new(params, key);
    for name in ["apiserver", "front-proxy"] {
        let key = KeyPair::generate()?;
        let mut params = named(
            name,
            &[
                "localhost",
                "127.0.0.1",
                "10.0.0.1",
                "kubernetes.default.svc",
            ],
        )?;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        file(
            &format!("{name}.crt"),
            &params.signed_by(&key, &issuer)?.pem(),
        )?;
        file(&format!("{name}.key"), &key.serialize_pem())?;
    }
    let accounts = KeyPair::generate()?;
    file("accounts.key", &accounts.serialize_pem())?;
    file("accounts.pub", &accounts.public_key_pem())?;
    Ok(ca)
}

fn named(name: &str, addresses: &[&str]) -> Result<CertificateParams> {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(addresses)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
