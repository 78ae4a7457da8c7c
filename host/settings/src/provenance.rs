//! What a plugin's Wasm can show for itself: its bytes, and who signed them.

use bytes::Bytes;
use minisign_verify::{Error, PublicKey, Signature};

/// A minisign public key.
#[derive(Debug, Clone)]
pub struct SigningKey {
    text: String,
    key: PublicKey,
}

impl SigningKey {
    /// As `minisign -G` prints it.
    pub(crate) fn read(text: &str) -> Option<Self> {
        PublicKey::from_base64(text).ok().map(|key| Self { text: text.to_owned(), key })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for SigningKey {}

/// Wasm, as grants may ask about it.
#[derive(Debug, Clone)]
pub struct Provenance {
    digest: String,
    /// The bytes are kept only where there is something to hold against them.
    signed: Option<(Bytes, String)>,
}

impl Provenance {
    /// Of Wasm with this SHA-256 (hex), and of a text beside it that should be a minisign signature.
    #[must_use]
    pub fn new(digest: &str, wasm: &Bytes, signature: Option<&str>) -> Self {
        let signed = signature.map(|signature| (wasm.clone(), signature.to_owned()));
        Self { digest: digest.to_owned(), signed }
    }

    /// SHA-256 of the Wasm, hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The text that should be a signature.
    #[must_use]
    pub fn signature(&self) -> Option<&str> {
        self.signed.as_ref().map(|(_, signature)| signature.as_str())
    }

    /// Whether the Wasm is signed with this key.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check_signed_by(&self, key: &SigningKey) -> Result<(), &'static str> {
        let (wasm, signature) = self.signed.as_ref().ok_or("there is no signature")?;
        let signature =
            Signature::decode(signature).map_err(|_| "what stands in its place is no minisign signature")?;
        key.key.verify(wasm, &signature, false).map_err(|error| match error {
            Error::UnexpectedKeyId => "the signature was made with another key",
            Error::UnexpectedAlgorithm => {
                "the signature is of minisign's legacy kind: sign with minisign 0.10 or newer"
            }
            _ => "the signature is not of this Wasm",
        })
    }
}

/// Whether a text has the form of a minisign signature.
#[must_use]
pub fn is_signature(text: &str) -> bool {
    Signature::decode(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "RWQlV8VgCddMtTXGPYZG4IIDu6k+sCVyJXJzs0uQm7BGFKrE8lnHfpTO";
    const OTHER_KEY: &str = "RWQF50EVrScMmKTbeQnUKxoKFh3k8tBdrkGDcENkeb3YGCaM02i6cWh+";
    const WASM: &[u8] = b"\0asm\x01\0\0\0";
    const SIGNATURE: &str = "untrusted comment: x
RUQlV8VgCddMtfyKQc3zhn0UicQr3xfjiNhlgKmgHaLJDPRZSaGWMPGWpet2bbYGverC/WLO8H5CVWsjaBLvMUDODRfYzWSOewE=
trusted comment: by a test
C2tGDSX0tucg5NStrEAcuIC5/ak/lFRZnBgf7Uj4xyB24t8o/Ii5DlApq76oGom1/h9M1hCp0yQ2BzYc9ZaRDA==
";
    const LEGACY: &str = "untrusted comment: x
RWQlV8VgCddMtbc1xMDXiV8/xd61F5ucs7huZIeHKjZqNMI/DR/qi3DWk6c05onTwwJgZU0wHoYIVKGrduPZ6oSplkOuuTlumwQ=
trusted comment: by a test
pabdsHMl0lZVU4l9jFThnV8sBBWGULKkT01QhUQXXDJ+ngU0ifKy2wKrGZ28z43v8dFHa8+pGR8pMXdLBbHwBQ==
";

    fn check(key: &str, wasm: &'static [u8], signature: Option<&str>) -> Result<(), &'static str> {
        let key = SigningKey::read(key).expect("a key");
        Provenance::new("", &Bytes::from_static(wasm), signature).check_signed_by(&key)
    }

    #[test]
    fn what_minisign_signed_is_signed_by_that_key_alone_and_in_every_byte() {
        assert_eq!(check(KEY, WASM, Some(SIGNATURE)), Ok(()));
        assert_eq!(check(OTHER_KEY, WASM, Some(SIGNATURE)), Err("the signature was made with another key"));
        assert_eq!(check(KEY, b"\0asm\x02\0\0\0", Some(SIGNATURE)), Err("the signature is not of this Wasm"));
        let forged = SIGNATURE.replace("by a test", "by nobody");
        assert_eq!(check(KEY, WASM, Some(&forged)), Err("the signature is not of this Wasm"));
    }

    #[test]
    fn what_is_no_signature_says_why() {
        assert_eq!(check(KEY, WASM, None), Err("there is no signature"));
        for text in ["", "untrusted comment: x", &SIGNATURE[..150]] {
            assert_eq!(check(KEY, WASM, Some(text)), Err("what stands in its place is no minisign signature"));
            assert!(!is_signature(text));
        }
        let legacy = check(KEY, WASM, Some(LEGACY)).expect_err("it is not taken");
        assert!(legacy.contains("minisign 0.10"), "{legacy}");
        assert!(is_signature(SIGNATURE));
    }
}
