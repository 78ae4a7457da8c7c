//! From bytes to a component: what they are, and how a core module becomes one. No engine here.
//!
//! A module for WASI 0.1 (`wasm32-wasip1`, Go's `wasip1`, wasi-libc) gets the adapter that wasmtime publishes: what it imports
//! of 0.1 becomes imports of WASI 0.2, of which those are live, inert or refused that a component's would be.

use std::panic::catch_unwind;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata, metadata};
use wit_parser::Resolve;

use crate::errors::LoadError;
use crate::words::{SENTENCE_CHARS_MAX, readable};

/// The contract, as it is compiled into this host.
pub(crate) const CONTRACT: &str = include_str!("../../../plugin-sdk/wit/tenure.wit");
/// The contract's worlds.
const WORLDS: [&str; 3] = ["reconciler", "task", "lock-policy"];

/// What some bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A component.
    Component,
    /// A core module.
    Module,
}

impl Format {
    /// Looks at the first bytes only: magic, version, layer.
    pub(crate) fn of(wasm: &[u8]) -> Result<Self, LoadError> {
        match wasm {
            [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Ok(Self::Module),
            [0, b'a', b's', b'm', _, _, 1, 0, ..] => Ok(Self::Component),
            _ => Err(not_wasm(wasm)),
        }
    }
}

fn not_wasm(bytes: &[u8]) -> LoadError {
    let start = &bytes[..bytes.len().min(16)];
    let hint = match start {
        [] => " (the file is empty)",
        [0x1f, 0x8b, ..] => " (gzip: name it .wasm.gz)",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => " (zstd: name it .wasm.zst)",
        [0x7f, b'E', b'L', b'F', ..] => " (a native program: build for wasm32-unknown-unknown)",
        [0, b'a', b's', b'm', ..] => " (WebAssembly of an unknown version)",
        [b'(', ..] => " (WebAssembly text: compile it, for example with `wasm-tools parse`)",
        _ => "",
    };
    let starts_with = if start.is_empty() { "nothing".to_owned() } else { format!("\"{}\"", start.escape_ascii()) };
    LoadError::NotWasm { starts_with, hint }
}

/// Makes a component of a valid core module. One built by wit-bindgen carries its world in a custom section; for one without,
/// the names of its imports and exports are read as those of the first of our own worlds that it fits.
pub(crate) fn wrap(module: &[u8]) -> Result<Vec<u8>, LoadError> {
    // A custom section is validated by nobody, and a tool meant for compilers may well panic on a bad one.
    catch_unwind(|| encode(module)).unwrap_or_else(|_| {
        Err(LoadError::Wrap {
            message: "its custom section `component-type` breaks wit-component: build it again".to_owned(),
        })
    })
}

fn encode(module: &[u8]) -> Result<Vec<u8>, LoadError> {
    let (stripped, _) = metadata::decode(module).map_err(refused)?;
    if stripped.is_some() {
        return component_of(module);
    }
    let [first, others @ ..] = WORLDS.map(|world| describe(module, world).and_then(|module| component_of(&module)));
    others.into_iter().fold(first, |found, other| found.or_else(|refusal| other.map_err(|_| refusal)))
}

fn component_of(module: &[u8]) -> Result<Vec<u8>, LoadError> {
    let mut encoder = ComponentEncoder::default().validate(true).module(module).map_err(refused)?;
    // Only where it is needed: with it, what a module imports of WASI 0.2 by itself would become the adapter's version of it.
    if imports_wasi_0_1(module) {
        let (name, adapter) = (WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER);
        encoder = encoder.adapter(name, adapter).map_err(refused)?;
    }
    encoder.encode().map_err(refused)
}

fn imports_wasi_0_1(module: &[u8]) -> bool {
    Parser::new(0).parse_all(module).any(|part| match part {
        Ok(Payload::ImportSection(imports)) => imports
            .into_imports()
            .any(|import| import.is_ok_and(|import| import.module == WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME)),
        _ => false,
    })
}

/// The module with a world of ours embedded.
fn describe(module: &[u8], world: &str) -> Result<Vec<u8>, LoadError> {
    let mut resolve = Resolve::default();
    let package = resolve.push_source("tenure.wit", CONTRACT).map_err(refused)?;
    let world = resolve.select_world(&[package], Some(world)).map_err(refused)?;
    let mut described = module.to_vec();
    embed_component_metadata(&mut described, &resolve, world, StringEncoding::UTF8).map_err(refused)?;
    Ok(described)
}

/// wit-component's own words, and where to look.
fn refused(error: impl std::fmt::Display) -> LoadError {
    let told = readable(&format!("{error:#}"), SENTENCE_CHARS_MAX);
    let worlds = WORLDS.join(", ");
    let message = format!(
        "{told}; its imports and exports must be those of a world in plugin-sdk/wit ({worlds}), beside those of WASI 0.1 \
         (wasi_snapshot_preview1)"
    );
    LoadError::Wrap { message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        Format::of(bytes).expect_err("not Wasm").to_string()
    }

    #[test]
    fn what_is_not_wasm_is_named_by_its_first_bytes() {
        assert_eq!(
            refusal(b"#!/bin/sh\nexit 1 and more"),
            r##"not a WebAssembly module or component: starts with "#!/bin/sh\nexit 1""##
        );
        assert_eq!(refusal(b""), "not a WebAssembly module or component: starts with nothing (the file is empty)");
        assert!(refusal(b"(module)").ends_with("(WebAssembly text: compile it, for example with `wasm-tools parse`)"));
        assert!(refusal(&[0x1f, 0x8b, 8]).ends_with("(gzip: name it .wasm.gz)"));
        assert!(refusal(b"\0asm").ends_with("(WebAssembly of an unknown version)"));
    }

    #[test]
    fn modules_and_components_are_told_apart_by_the_layer() {
        assert_eq!(Format::of(b"\0asm\x01\0\0\0").expect("a module"), Format::Module);
        assert_eq!(Format::of(b"\0asm\x0d\0\x01\0").expect("a component"), Format::Component);
    }
}
