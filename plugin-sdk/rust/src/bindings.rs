//! The contract as wit-bindgen translates it. No part of the crate's promise: `guest` turns it into the crate's own types,
//! so that a later version of the contract need not change a plugin's source.

#![cfg_attr(
    not(target_family = "wasm"),
    expect(clippy::too_many_arguments, reason = "generated: records arrive flattened")
)]

wit_bindgen::generate!({
    world: "reconciler",
    path: "../wit",
    pub_export_macro: true,
    export_macro_name: "export_reconciler",
    default_bindings_module: "tenure_plugin::bindings",
});
