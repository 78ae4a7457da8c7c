//! cargo-fuzz on `tenure_fuzz::grant`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tenure_fuzz::grant(input));
