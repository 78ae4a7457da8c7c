//! The way back: a manifest and Wasm made into ConfigMaps that plain `kubectl apply` takes.

use std::io::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tenure_settings::{Manifest, PluginIdentity, is_signature};

use crate::{
    PackError,
    assembly::CHUNKS_MAX,
    config_map::{CHUNK_LABEL, MANIFEST_KEY, PLUGIN_LABEL, SIGNATURE_KEY},
    digest::sha256_hex,
    unpack::Encoding,
};

/// Each object's JSON stays below this. `kubectl apply` copies the whole object into an annotation, and annotations may
/// have 256 KiB in all.
pub const OBJECT_BYTES_MAX: usize = 240 * 1024;
/// Bytes of one chunk before base64 makes four of three: 240 300, and the rest of the object fits beside it.
const CHUNK_BYTES: usize = 176 * 1024;
/// Characters of a head's name: `-`, 16 digits, `-` and a number follow in the chunks' names, of at most 253.
const HEAD_NAME_CHARS_MAX: usize = 200;
/// zstd's best without its long-range levels: packing is rare, and the window stays at 8 MiB.
const ZSTD_LEVEL: i32 = 19;

/// How the Wasm is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Smallest.
    #[default]
    Zstd,
    /// For those who want to look inside with what every machine has.
    Gzip,
    /// As it is.
    None,
}

/// Where the plugin goes.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// One of the host's plugin namespaces.
    pub namespace: String,
    /// The head ConfigMap's name; with the namespace, the plugin's identity.
    pub name: String,
    /// How the Wasm is stored.
    pub compression: Compression,
    /// A minisign signature of the Wasm, as it was made.
    pub signature: Option<String>,
}

/// Makes the ConfigMaps: one, or one for each chunk and then the head. In this order `kubectl apply` completes the plugin
/// with its last object, and until then the version before runs on. The same input always gives the same objects.
///
/// # Errors
/// What is wrong with the name, the manifest or the Wasm, and what would not fit.
pub fn pack(manifest_toml: &str, wasm: &[u8], options: PackOptions) -> Result<Vec<Value>, PackError> {
    let PackOptions { namespace, name, compression, signature } = options;
    PluginIdentity::config_map(&namespace, &name)?;
    if name.len() > HEAD_NAME_CHARS_MAX {
        return Err(PackError::NameTooLong { chars: name.len(), max: HEAD_NAME_CHARS_MAX });
    }
    let manifest = Manifest::parse(manifest_toml, MANIFEST_KEY)?;
    if !manifest.chunks.is_empty() {
        return Err(PackError::AlreadyPacked);
    }
    if !wasm.starts_with(b"\0asm") {
        return Err(PackError::NotWasm);
    }
    if signature.as_deref().is_some_and(|text| !is_signature(text)) {
        return Err(PackError::NotASignature);
    }
    let (encoding, stored) = compress(wasm, compression).map_err(PackError::Compress)?;
    let head = |manifest: &str, binary_data: Value| {
        let mut object = config_map(&namespace, &name, PLUGIN_LABEL, binary_data);
        object["data"] = json!({ MANIFEST_KEY: manifest });
        if let Some(signature) = &signature {
            object["data"][SIGNATURE_KEY] = signature.as_str().into();
        }
        object
    };

    let whole = head(manifest_toml, json!({ encoding.key(): STANDARD.encode(&stored) }));
    if size(&whole) < OBJECT_BYTES_MAX {
        return Ok(vec![whole]);
    }

    let prefix = format!("{name}-{}", &sha256_hex(wasm)[..16]);
    let count = stored.len().div_ceil(CHUNK_BYTES);
    if count > CHUNKS_MAX {
        return Err(PackError::TooManyChunks { count, max: CHUNKS_MAX });
    }
    let mut listing = manifest_toml.trim_end().to_owned();
    let mut objects = Vec::with_capacity(count + 1);
    for (number, part) in stored.chunks(CHUNK_BYTES).enumerate() {
        let name = format!("{prefix}-{number}");
        listing.push_str(&format!("\n\n[[chunk]]\nname = \"{name}\"\nsha256 = \"{}\"", sha256_hex(part)));
        objects.push(config_map(&namespace, &name, CHUNK_LABEL, json!({ encoding.key(): STANDARD.encode(part) })));
    }
    listing.push('\n');
    objects.push(head(&listing, Value::Null));
    match objects.iter().find(|object| size(object) >= OBJECT_BYTES_MAX) {
        Some(object) => Err(PackError::ManifestTooLarge { name, bytes: size(object), max: OBJECT_BYTES_MAX }),
        None => Ok(objects),
    }
}

fn config_map(namespace: &str, name: &str, label: &str, binary_data: Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "namespace": namespace, "name": name, "labels": { label: "true" } },
    });
    if !binary_data.is_null() {
        object["binaryData"] = binary_data;
    }
    object
}

fn size(object: &Value) -> usize {
    object.to_string().len()
}

fn compress(wasm: &[u8], compression: Compression) -> std::io::Result<(Encoding, Vec<u8>)> {
    match compression {
        Compression::None => Ok((Encoding::Plain, wasm.to_vec())),
        Compression::Zstd => Ok((Encoding::Zstd, zstd::bulk::compress(wasm, ZSTD_LEVEL)?)),
        Compression::Gzip => {
            // No name and no time in its header: the same Wasm gives the same bytes.
            let mut encoder = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::best());
            encoder.write_all(wasm)?;
            Ok((Encoding::Gzip, encoder.finish()?))
        }
    }
}
