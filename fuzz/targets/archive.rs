//! cargo-fuzz on `tenure_fuzz::archive`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tenure_fuzz::archive(input));
