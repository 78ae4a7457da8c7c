//! cargo-fuzz on `tenure_fuzz::wasm`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tenure_fuzz::wasm(input));
