//! cargo-fuzz on `tenure_fuzz::lease`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tenure_fuzz::lease(input));
