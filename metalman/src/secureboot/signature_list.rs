//! EFI signature lists: how firmware keeps the certificates it trusts (UEFI 2.10, 32.4.1).

use uuid::Uuid;

/// `EFI_CERT_X509_GUID`: the list holds one DER certificate.
const X509: Uuid = Uuid::from_u128(0xa5c0_59a1_94e4_4aa7_87b5_ab15_5c2b_f072);
/// Type, list size, header size, signature size.
const HEADER: usize = 16 + 4 + 4 + 4;
/// The owner before each signature.
const OWNER: usize = 16;

/// One list with one certificate that belongs to `owner`. Certificates of firmware keys have a few
/// kilobytes; one beyond 4 GiB has no list.
pub(super) fn of_certificate(owner: Uuid, der: &[u8]) -> Option<Vec<u8>> {
    let signature_size = u32::try_from(der.len().checked_add(OWNER)?).ok()?;
    let list_size = signature_size.checked_add(u32::try_from(HEADER).ok()?)?;
    let mut list = Vec::with_capacity(HEADER + OWNER + der.len());
    list.extend_from_slice(&X509.to_bytes_le());
    list.extend_from_slice(&list_size.to_le_bytes());
    list.extend_from_slice(&0_u32.to_le_bytes());
    list.extend_from_slice(&signature_size.to_le_bytes());
    list.extend_from_slice(&owner.to_bytes_le());
    list.extend_from_slice(der);
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_its_own_sizes() {
        let list = of_certificate(Uuid::from_u128(1), b"0123456789").expect("fits");
        assert_eq!(list.len(), 28 + 16 + 10);
        // The first three fields of a GUID are little-endian.
        assert_eq!(list[..4], [0xa1, 0x59, 0xc0, 0xa5]);
        assert_eq!(list[16..20], 54_u32.to_le_bytes());
        assert_eq!(list[20..24], [0; 4]);
        assert_eq!(list[24..28], 26_u32.to_le_bytes());
        assert_eq!(&list[44..], b"0123456789");
    }
}
