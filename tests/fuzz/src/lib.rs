//! One function for each fuzz target: what is done with one input, and what must hold of it. cargo-fuzz calls them with inputs
//! of its own (`fuzz/`), every test run with those of the corpus (`fuzz/corpus/`). A target panics where something does not hold.

mod archive;
mod election;
mod grant;
#[cfg(feature = "lease")]
mod lease;
mod manifest;
#[cfg(feature = "path")]
mod path;
mod settings;
#[cfg(feature = "wasm")]
mod wasm;

pub use archive::archive;
pub use election::election;
pub use grant::grant;
#[cfg(feature = "lease")]
pub use lease::lease;
pub use manifest::manifest;
#[cfg(feature = "path")]
pub use path::path;
pub use settings::settings;
#[cfg(feature = "wasm")]
pub use wasm::wasm;

/// Does with one input what a target does.
pub type Target = fn(&[u8]);

/// Every target, under the name of its folder in the corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("archive", archive),
    ("election", election),
    ("grant", grant),
    #[cfg(feature = "lease")]
    ("lease", lease),
    ("manifest", manifest),
    #[cfg(feature = "path")]
    ("path", path),
    ("settings", settings),
    #[cfg(feature = "wasm")]
    ("wasm", wasm),
];
