use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;

use super::*;

/// Made with OpenSSL 3.0, which shares no code with what is tested:
/// `openssl ecparam -name prime256v1 -genkey`, `openssl ec -pubout`,
/// `openssl dgst -sha256 -sign key.pem payload | base64 -w0`.
const OPENSSL_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAECXNa9BO6Kp3kAYDA8SWoR/yZ3vuj\nXAStcuIOJvzEsJSkWEqOAfDvtVnh8lU/Sl28sqM4EVBVa2jzD+xkprTBDw==\n-----END PUBLIC KEY-----\n";
const OPENSSL_SIGNATURE: &str = "MEYCIQCjZOXl+ptPBssEMzpYS7TM9txVBk82o3+Gv3ZNH1nLPgIhAJTz1FAViSvBekJTpK+m5koK8EG97+VyVJYCUU27bass";
const OPENSSL_PAYLOAD: &str = r#"{"critical":{"identity":{"docker-reference":"registry.example/site/boot"},"image":{"docker-manifest-digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"type":"cosign container image signature"},"optional":null}"#;

/// A key pair for tests of the whole store.
pub(in crate::images) struct Signer(EcdsaKeyPair);

impl Signer {
    pub(in crate::images) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    pub(in crate::images) fn key(&self) -> CosignKey {
        let der = [&P256_HEAD[..], self.0.public_key().as_ref()].concat();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der)
        );
        CosignKey::from_pem(pem.as_bytes()).unwrap()
    }

    /// Payload, and the layer of a signature manifest that carries it.
    pub(in crate::images) fn sign(&self, digest: &str) -> (Vec<u8>, serde_json::Value) {
        let payload = payload(digest, CLAIM_TYPE);
        let signature = self.0.sign(&SystemRandom::new(), &payload).unwrap();
        let layer = json!({"mediaType": PAYLOAD_TYPE,
            "digest": crate::images::digest::digest_of(&payload), "size": payload.len(),
            "annotations": {SIGNATURE_ANNOTATION: STANDARD.encode(signature)}});
        (payload, layer)
    }
}

fn payload(digest: &str, kind: &str) -> Vec<u8> {
    json!({"critical": {"identity": {"docker-reference": "registry.example/site/boot"},
        "image": {"docker-manifest-digest": digest}, "type": kind}, "optional": null})
    .to_string()
    .into_bytes()
}

#[test]
fn a_signature_made_by_openssl_is_accepted_and_nothing_near_it() {
    let key = CosignKey::from_pem(OPENSSL_KEY.as_bytes()).unwrap();
    let signature = STANDARD.decode(OPENSSL_SIGNATURE).unwrap();
    let payload = OPENSSL_PAYLOAD.as_bytes();
    assert!(key.has_signed(payload, &signature));
    assert!(claims(payload, &crate::images::digest::digest_of(b"")));
    for at in 0..signature.len() {
        let mut altered = signature.clone();
        altered[at] ^= 1;
        assert!(!key.has_signed(payload, &altered), "bit at {at}");
    }
    for at in 0..payload.len() {
        let mut altered = payload.to_vec();
        altered[at] ^= 1;
        assert!(!key.has_signed(&altered, &signature), "bit at {at}");
    }
    assert!(!Signer::new().key().has_signed(payload, &signature));
    assert!(!key.has_signed(payload, b""));
}

#[test]
fn a_payload_claims_one_digest_as_cosign_says_it() {
    let digest = crate::images::digest::digest_of(b"image");
    assert!(claims(&payload(&digest, CLAIM_TYPE), &digest));
    assert!(!claims(&payload(&digest, "something else"), &digest));
    let other = crate::images::digest::digest_of(b"other");
    assert!(!claims(&payload(&other, CLAIM_TYPE), &digest));
    assert!(!claims(b"{}", &digest));
    assert!(!claims(b"not json", &digest));
}

#[test]
fn only_p256_public_keys_are_keys() {
    for text in [
        "",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        // Ed25519.
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert!(CosignKey::from_pem(text.as_bytes()).is_err(), "{text}");
    }
}
