//! cargo-fuzz on `tenure_fuzz::settings`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tenure_fuzz::settings(input));
