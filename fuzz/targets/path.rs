//! cargo-fuzz on `tenure_fuzz::path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tenure_fuzz::path(input));
