//! A target in libFuzzer's hands. `tests/fuzz/run` says how, in `TENANTSCOPE_FUZZ`.
#![allow(unsafe_code, reason = "libFuzzer is C++")]

use std::ffi::{CString, c_char, c_int};
use std::path::Path;
use std::sync::OnceLock;
use std::{env, fs, panic, process, slice};

// Linked, and its C++ with it; its own Rust door is for programs with one target and no other `main`.
use libfuzzer_sys as _;

unsafe extern "C" {
    fn LLVMFuzzerRunDriver(
        argc: *mut c_int,
        argv: *mut *mut *mut c_char,
        judge: extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
}

static JUDGE: OnceLock<fn(&[u8])> = OnceLock::new();

extern "C" fn judge(data: *const u8, size: usize) -> c_int {
    // SAFETY: libFuzzer hands over `size` bytes that stay while this runs; none of them may come with no address.
    let input = if size == 0 { &[] } else { unsafe { slice::from_raw_parts(data, size) } };
    if let Some(judge) = JUDGE.get() {
        judge(input);
    }
    0
}

/// What `libfuzzer-sys` asks for beside its own door, which nobody opens here.
#[unsafe(no_mangle)]
fn rust_fuzzer_test_input(_: &[u8]) -> i32 {
    0
}

/// Puts what is kept where libFuzzer finds it, and lets libFuzzer do what it is told.
#[allow(clippy::expect_used, reason = "a test fails by panicking")]
pub(crate) fn run(file: &str, inputs: &[Vec<u8>], with: fn(&[u8])) {
    let told = env::var("TENANTSCOPE_FUZZ").expect("tests/fuzz/run says what to do");
    if let Ok(folder) = env::var("TENANTSCOPE_FUZZ_SEEDS") {
        for (number, input) in inputs.iter().enumerate() {
            fs::write(Path::new(&folder).join(format!("kept-{number:04}")), input).expect(file);
        }
    }
    JUDGE.get_or_init(|| with);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        hook(panicked);
        // libFuzzer notes the input of a process that aborts.
        process::abort();
    }));
    // Where it starts itself again, it starts this script.
    let again = env::var("TENANTSCOPE_FUZZ_AGAIN").expect("tests/fuzz/run says how to start again");
    let words = [again.as_str()].into_iter().chain(told.split_ascii_whitespace());
    let mut words: Vec<*mut c_char> = words.map(|word| CString::new(word).expect("a word").into_raw()).collect();
    let mut argc = c_int::try_from(words.len()).expect("few words");
    words.push(std::ptr::null_mut());
    let mut argv = words.as_mut_ptr();
    // SAFETY: as for a C program's `main`: `argc` words, each ending in zero, then none; they live as long as the process.
    let code = unsafe { LLVMFuzzerRunDriver(&raw mut argc, &raw mut argv, judge) };
    process::exit(code);
}
