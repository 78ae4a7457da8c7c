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

/// The world of lock policies; what it shares with the other is the other's.
pub mod policy {
    wit_bindgen::generate!({
        world: "lock-policy",
        path: "../wit",
        pub_export_macro: true,
        export_macro_name: "export_lock_policy",
        default_bindings_module: "tenure_plugin::bindings::policy",
        with: {
            "tenure:plugin/types@0.1.0": super::tenure::plugin::types,
            "tenure:plugin/kubernetes-read@0.1.0": super::tenure::plugin::kubernetes_read,
            "tenure:plugin/settings@0.1.0": super::tenure::plugin::settings,
            "tenure:plugin/log@0.1.0": super::tenure::plugin::log,
        },
    });
}

/// The world of tasks; all that it imports is the first one's.
pub mod task {
    wit_bindgen::generate!({
        world: "task",
        path: "../wit",
        pub_export_macro: true,
        export_macro_name: "export_task",
        default_bindings_module: "tenure_plugin::bindings::task",
        with: {
            "tenure:plugin/types@0.1.0": super::tenure::plugin::types,
            "tenure:plugin/kubernetes-read@0.1.0": super::tenure::plugin::kubernetes_read,
            "tenure:plugin/kubernetes-write@0.1.0": super::tenure::plugin::kubernetes_write,
            "tenure:plugin/leadership@0.1.0": super::tenure::plugin::leadership,
            "tenure:plugin/settings@0.1.0": super::tenure::plugin::settings,
            "tenure:plugin/log@0.1.0": super::tenure::plugin::log,
        },
    });
}
