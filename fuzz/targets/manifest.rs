//! cargo-fuzz on `tenure_fuzz::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tenure_fuzz::manifest(input));
