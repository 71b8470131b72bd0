//! What the person with the keys does next.

use uuid::Uuid;

/// Text of `README.txt` beside the keys.
pub(super) fn text(site: &str, owner: Uuid) -> String {
    format!(
        "\
Secure Boot keys of site {site}
owner GUID {owner}

db.key signs boot loaders of this site: keep it like a root password. db.crt is what machines must
trust. PK and KEK are needed only where you take a machine over altogether (see 4).

Do you need them? A netboot image with the distribution's signed shim, GRUB and kernel boots on
machines as they are sold; then nothing has to be enrolled. That GRUB has no HTTP, so its kernel
comes by TFTP. Own keys are for UEFI HTTP boot and for a GRUB of your own:

    deploy/images/build netboot-site --secure-boot-keys THIS_FOLDER

Add db.crt to the machine in one of these ways. Each adds to what is there; the vendor's keys stay,
which option ROMs and the distribution's shim need.

1. By the BMC (Redfish 2021 and later), then a restart:
     POST /redfish/v1/Systems/ID/SecureBoot/SecureBootDatabases/db/Certificates
     {{\"CertificateType\": \"PEM\", \"CertificateString\": \"<db.pem>\", \"UefiSignatureOwner\": \"{owner}\"}}
2. In the firmware's menu: copy db.crt to a USB stick with FAT; Secure Boot, Custom, db, Add.
   Some firmware wants db.esl instead.
3. In a running Linux that was started by shim:
     mokutil --import db.crt
   then restart, and confirm in the blue MokManager menu with the password you gave. shim trusts
   the key from then on; the firmware itself does not, which is enough for GRUB.
4. Taking the machine over, in setup mode (all keys deleted in the firmware's menu), in this order:
     efi-updatevar -f db.auth db; efi-updatevar -f KEK.auth KEK; efi-updatevar -f PK.auth PK
   or the same three files in the firmware's menu. From then on only db is trusted, also for option
   ROMs: add the vendor's certificates to db first if the machine needs them.

To see what a machine trusts: mokutil --db, mokutil --list-enrolled, or
GET .../SecureBootDatabases/db/Certificates at its BMC.
"
    )
}
