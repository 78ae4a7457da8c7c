//! cargo-fuzz on `tenure_fuzz::election`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tenure_fuzz::election(input));
