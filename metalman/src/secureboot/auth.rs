//! Authenticated updates of firmware variables (UEFI 2.10, 8.2.2): the new content with a signature
//! of the key one step above, in the form firmware menus, BMCs and `efi-updatevar` take.

use jiff::{Timestamp, tz::TimeZone};
use uuid::Uuid;
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag};

use super::certificate::{Identity, KeyError};

/// `EFI_GLOBAL_VARIABLE`: where PK and KEK live.
const GLOBAL: Uuid = Uuid::from_u128(0x8be4_df61_93ca_11d2_aa0d_00e0_9803_2b8c);
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`: where db lives.
const SECURITY: Uuid = Uuid::from_u128(0xd719_b2cb_3d3a_4596_a3bc_dad0_0e67_656f);
/// `EFI_CERT_TYPE_PKCS7_GUID`.
const PKCS7: Uuid = Uuid::from_u128(0x4aaf_d29d_68df_49ee_8aa9_347d_3756_65a7);
/// Kept over restarts, readable by boot services and by the system, protected by time.
const ATTRIBUTES: u32 = 0x01 | 0x02 | 0x04 | 0x20;
/// `WIN_CERTIFICATE` revision 2.0.
const REVISION: u16 = 0x0200;
/// `WIN_CERT_TYPE_EFI_GUID`.
const BY_GUID: u16 = 0x0ef1;
/// Length, revision and type of `WIN_CERTIFICATE`, and the GUID behind them.
const CERTIFICATE_HEADER: usize = 4 + 2 + 2 + 16;

/// The variable an update replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable {
    Pk,
    Kek,
    Db,
}

impl Variable {
    /// As in the firmware's menu, and in our file names.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pk => "PK",
            Self::Kek => "KEK",
            Self::Db => "db",
        }
    }

    const fn vendor(self) -> Uuid {
        match self {
            Self::Pk | Self::Kek => GLOBAL,
            Self::Db => SECURITY,
        }
    }
}

/// An update that sets `variable` to the signature `list`, signed by `signer`.
///
/// # Errors
/// The key cannot sign.
pub(super) fn update(
    variable: Variable,
    list: &[u8],
    signer: &Identity,
    now: Timestamp,
) -> Result<Vec<u8>, KeyError> {
    let time = efi_time(now);
    let mut signed = Vec::new();
    for unit in variable.name().encode_utf16() {
        signed.extend_from_slice(&unit.to_le_bytes());
    }
    signed.extend_from_slice(&variable.vendor().to_bytes_le());
    signed.extend_from_slice(&ATTRIBUTES.to_le_bytes());
    signed.extend_from_slice(&time);
    signed.extend_from_slice(list);
    let pkcs7 = signed_data(signer, &signed)?;
    let length = u32::try_from(pkcs7.len().saturating_add(CERTIFICATE_HEADER))
        .map_err(|_| KeyError::Malformed(signer.name.clone()))?;

    let mut update = Vec::with_capacity(time.len() + pkcs7.len() + list.len() + 64);
    update.extend_from_slice(&time);
    update.extend_from_slice(&length.to_le_bytes());
    update.extend_from_slice(&REVISION.to_le_bytes());
    update.extend_from_slice(&BY_GUID.to_le_bytes());
    update.extend_from_slice(&PKCS7.to_bytes_le());
    update.extend_from_slice(&pkcs7);
    update.extend_from_slice(list);
    Ok(update)
}

/// `EFI_TIME` in UTC; what is finer than a second must be zero.
fn efi_time(now: Timestamp) -> [u8; 16] {
    let now = now.to_zoned(TimeZone::UTC);
    let [year_low, year_high] = now.year().to_le_bytes();
    let byte = |value: i8| value.unsigned_abs();
    [
        year_low,
        year_high,
        byte(now.month()),
        byte(now.day()),
        byte(now.hour()),
        byte(now.minute()),
        byte(now.second()),
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ]
}

/// PKCS#7 SignedData (RFC 2315, 9.1) over content that is not inside, without signed attributes
/// and without the ContentInfo around it, as UEFI wants it.
fn signed_data(signer: &Identity, content: &[u8]) -> Result<Vec<u8>, KeyError> {
    let malformed = || KeyError::Malformed(signer.name.clone());
    let (_, certificate) =
        x509_parser::parse_x509_certificate(signer.der()).map_err(|_| malformed())?;
    let signature = signer.sign(content)?;
    let issuer = certificate.issuer().as_raw().to_vec();
    let serial = certificate.raw_serial().to_vec();
    Ok(yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(1);
            writer
                .next()
                .write_set_of(|writer| algorithm(writer.next(), SHA256));
            writer
                .next()
                .write_sequence(|writer| writer.next().write_oid(&oid(DATA)));
            writer
                .next()
                .write_tagged_implicit(Tag::context(0), |writer| {
                    writer.write_set_of(|writer| writer.next().write_der(signer.der()));
                });
            writer.next().write_set_of(|writer| {
                writer.next().write_sequence(|writer| {
                    writer.next().write_u8(1);
                    writer.next().write_sequence(|writer| {
                        writer.next().write_der(&issuer);
                        writer.next().write_bigint_bytes(&serial, true);
                    });
                    algorithm(writer.next(), SHA256);
                    algorithm(writer.next(), RSA);
                    writer.next().write_bytes(&signature);
                });
            });
        });
    }))
}

/// id-data of PKCS#7.
const DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 1];
/// rsaEncryption.
const RSA: &[u64] = &[1, 2, 840, 113_549, 1, 1, 1];
/// id-sha256.
const SHA256: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 2, 1];

fn oid(parts: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(parts)
}

fn algorithm(writer: DERWriter<'_>, parts: &[u64]) {
    writer.write_sequence(|writer| {
        writer.next().write_oid(&oid(parts));
        writer.next().write_null();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_has_time_certificate_and_content() {
        let now: Timestamp = "2026-11-20T10:30:05.7Z".parse().expect("a time");
        let signer = Identity::new("rack-a KEK", now).expect("a key");
        let update = update(Variable::Db, b"LIST", &signer, now).expect("signs");
        assert_eq!(update[..8], [0xea, 0x07, 11, 20, 10, 30, 5, 0]);
        assert!(update[8..16].iter().all(|byte| *byte == 0));
        let length = u32::from_le_bytes(update[16..20].try_into().expect("four"));
        let end = 16 + usize::try_from(length).expect("small");
        assert_eq!(&update[end..], b"LIST");
        assert_eq!(update[20..24], [0x00, 0x02, 0xf1, 0x0e]);
        // SEQUENCE of long form: SignedData itself, no ContentInfo.
        assert_eq!(update[40..42], [0x30, 0x82]);
        assert_eq!(update[44..47], [0x02, 0x01, 0x01]);
    }

    #[test]
    fn the_signature_is_of_name_vendor_attributes_time_and_content() {
        let now: Timestamp = "2026-11-20T10:30:05Z".parse().expect("a time");
        let signer = Identity::new("rack-a PK", now).expect("a key");
        let update = update(Variable::Kek, b"LIST", &signer, now).expect("signs");
        let mut signed = b"K\0E\0K\0".to_vec();
        signed.extend(GLOBAL.to_bytes_le());
        signed.extend([0x27, 0, 0, 0]);
        signed.extend(&update[..16]);
        signed.extend(b"LIST");
        // The signature is the last thing in SignedData.
        let end = update.len() - 4;
        let signature = &update[end - 256..end];
        let (_, certificate) = x509_parser::parse_x509_certificate(signer.der()).expect("parses");
        let key = &certificate.public_key().subject_public_key.data;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let verifies = |message: &[u8]| {
            let algorithms = provider.signature_verification_algorithms.all;
            algorithms
                .iter()
                .any(|algorithm| algorithm.verify_signature(key, message, signature).is_ok())
        };
        assert!(verifies(&signed));
        signed.push(0);
        assert!(!verifies(&signed));
    }
}
