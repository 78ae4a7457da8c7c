//! Signatures as minisign makes them, in tests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

const COMMENT: &str = "by a test";

/// A key that signs.
pub struct Signer {
    pair: Ed25519KeyPair,
    id: [u8; 8],
}

impl Signer {
    /// Another key for each seed.
    ///
    /// # Panics
    /// Never: 32 bytes are a seed.
    #[must_use]
    pub fn new(seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("32 bytes");
        Self { pair, id: [seed; 8] }
    }

    /// As it stands in a grant.
    #[must_use]
    pub fn public_key(&self) -> String {
        STANDARD.encode([b"Ed", &self.id[..], self.pair.public_key().as_ref()].concat())
    }

    /// The text of a signature file: of the hash, and then of that signature with the comment.
    #[must_use]
    pub fn sign(&self, content: &[u8]) -> String {
        let signature = self.pair.sign(blake2b_simd::blake2b(content).as_bytes());
        let whole = self.pair.sign(&[signature.as_ref(), COMMENT.as_bytes()].concat());
        let line = STANDARD.encode([b"ED", &self.id[..], signature.as_ref()].concat());
        format!("untrusted comment: x\n{line}\ntrusted comment: {COMMENT}\n{}\n", STANDARD.encode(whole))
    }
}
