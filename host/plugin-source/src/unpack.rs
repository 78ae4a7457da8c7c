//! Bytes as they lie there, made into Wasm: three spellings, one bound.

use std::io::Read;

use bytes::Bytes;

use crate::SourceError;

/// How large a window zstd may ask for, as a power of two: 8 MiB, what its default levels need. A frame may demand
/// gigabytes otherwise, before a single byte comes out.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How the Wasm is stored, by the ending of its key or file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    Gzip,
    Zstd,
}

impl Encoding {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Gzip, Self::Zstd];

    /// The key in binaryData, and the name in a plugin's own folder.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Plain => "plugin.wasm",
            Self::Gzip => "plugin.wasm.gz",
            Self::Zstd => "plugin.wasm.zst",
        }
    }

    /// The ending of `<stem>.wasm` and its compressed forms.
    pub(crate) fn ending(self) -> &'static str {
        &self.key()["plugin".len()..]
    }
}

/// The Wasm, or why not. Never makes more than `bytes_max` of it, however small the input.
pub(crate) fn unpack(stored: Bytes, encoding: Encoding, key: &str, bytes_max: u64) -> Result<Bytes, SourceError> {
    let damaged = |error: std::io::Error| SourceError::Damaged { key: key.to_owned(), message: error.to_string() };
    let unpacked = match encoding {
        Encoding::Plain => stored,
        Encoding::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(&stored[..]), bytes_max).map_err(damaged)?,
        Encoding::Zstd => {
            let mut decoder = zstd::Decoder::new(&stored[..]).map_err(damaged)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(damaged)?;
            read_bounded(decoder, bytes_max).map_err(damaged)?
        }
    };
    if unpacked.len() as u64 > bytes_max {
        return Err(SourceError::TooLarge { max: bytes_max });
    }
    Ok(unpacked)
}

/// One byte past the bound at most: enough to know that there is more.
fn read_bounded(reader: impl Read, bytes_max: u64) -> std::io::Result<Bytes> {
    let mut bytes = Vec::new();
    reader.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const MAX: u64 = 64 * 1024;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory").into()
    }

    fn zstd(bytes: &[u8]) -> Bytes {
        zstd::encode_all(bytes, 19).expect("memory").into()
    }

    #[test]
    fn all_three_spellings_come_to_the_same_bytes() {
        let wasm: &[u8] = b"\0asm and so on";
        for (encoding, stored) in
            [(Encoding::Plain, Bytes::from_static(wasm)), (Encoding::Gzip, gzip(wasm)), (Encoding::Zstd, zstd(wasm))]
        {
            assert_eq!(unpack(stored, encoding, encoding.key(), MAX).expect("sound"), wasm, "{encoding:?}");
        }
    }

    #[test]
    fn a_bomb_is_refused_without_being_unpacked() {
        let zeros = vec![0; 64 * 1024 * 1024];
        for (encoding, bomb) in [(Encoding::Gzip, gzip(&zeros)), (Encoding::Zstd, zstd(&zeros))] {
            assert!(bomb.len() < 100 * 1024, "small enough for a ConfigMap");
            let refused = unpack(bomb, encoding, encoding.key(), MAX).expect_err("a bomb");
            assert!(matches!(refused, SourceError::TooLarge { max: MAX }), "{refused}");
        }
    }

    #[test]
    fn a_frame_that_demands_a_huge_window_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("memory");
        encoder.window_log(27).expect("a window log");
        encoder.include_contentsize(false).expect("a flag");
        encoder.write_all(b"\0asm").expect("memory");
        let stored = encoder.finish().expect("memory").into();
        let refused = unpack(stored, Encoding::Zstd, "plugin.wasm.zst", MAX).expect_err("128 MiB of window");
        assert!(matches!(refused, SourceError::Damaged { .. }), "{refused}");
    }

    #[test]
    fn exactly_the_bound_is_taken_and_one_more_is_not() {
        let wasm = vec![7; MAX as usize];
        assert_eq!(unpack(zstd(&wasm), Encoding::Zstd, "k", MAX).expect("fits").len(), wasm.len());
        assert!(matches!(unpack(zstd(&wasm), Encoding::Zstd, "k", MAX - 1), Err(SourceError::TooLarge { .. })));
        assert!(matches!(unpack(wasm.into(), Encoding::Plain, "k", MAX - 1), Err(SourceError::TooLarge { .. })));
    }

    #[test]
    fn damaged_bytes_say_which_key_is_damaged() {
        let refused =
            unpack(Bytes::from_static(b"nonsense"), Encoding::Gzip, "plugin.wasm.gz", MAX).expect_err("damaged");
        assert!(refused.to_string().starts_with("plugin.wasm.gz does not decompress"), "{refused}");
    }
}
